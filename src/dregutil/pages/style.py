"""The style of a page: system fonts, light and dark, for a screen of 360 px and for paper."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """:root { color-scheme: light dark; background: Canvas; --line: #8886; --alarm: #b3261e; }
:root { --outline: #1b1b1b; --hatch: #555; --paper: #fff; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
header p, footer { opacity: .8; } footer { margin-top: 2rem; font-size: .85rem; }
p, code, td, caption { overflow-wrap: anywhere; unicode-bidi: isolate; }
code { font: .9em ui-monospace, monospace; }
.alarm { border-left: .3rem solid var(--alarm); padding: .4rem .75rem; background: #b3261e1a; }
.table { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .2rem .6rem; border-bottom: 1px solid var(--line); }
tbody th { font-weight: inherit; min-width: 6rem; overflow-wrap: anywhere; unicode-bidi: isolate; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { width: 100%; height: auto; display: block; border: 1px solid var(--line); }
svg text { font: 12px system-ui, sans-serif; fill: #1b1b1b; pointer-events: none; }
svg text { paint-order: stroke; stroke: #fffc; stroke-width: 3px; }
rect { stroke: var(--paper); stroke-width: .6; } .o0, .o1 { fill: none; pointer-events: none; stroke: var(--outline); }
.o0 { stroke-width: 2.4; } .o1 { stroke-width: 1; }
rect.s { fill: url(#hatch); } #hatch line { stroke: var(--hatch); stroke-width: 2.5; }
.c0 { fill: #a8c7e6; } .c1 { fill: #f2c894; } .c2 { fill: #b4d9ae; } .c3 { fill: #e6b3b3; }
.c4 { fill: #cdbce3; } .c5 { fill: #d8c3b0; } .c6 { fill: #efc1de; } .c7 { fill: #bfe0df; }
@media (prefers-color-scheme: dark) { :root { --alarm: #f2b8b5; --outline: #eee; --hatch: #999; --paper: #222; } }
@media (max-width: 40rem) { body { margin: .75rem auto; padding: 0 .6rem; } th, td { padding: .2rem .35rem; }
  svg text { display: none; } }
@media print {
  @page { size: A4; margin: 14mm; }
  body { font-size: 9.5pt; max-width: none; margin: 0; padding: 0; }
  .table { overflow: visible; } thead { display: table-header-group; } tr, svg, .alarm { break-inside: avoid; }
  h2, caption { break-after: avoid; }
}"""
