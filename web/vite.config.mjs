// Two bundles, each one script and one style with names that stay: `report` is put into the page of a report, `serve`
// (`--mode serve`) is what `dregutil serve` serves. Both are the same bytes wherever they are built from the lock file.
import { existsSync, readFileSync } from "node:fs";
import { defineConfig } from "vite";

const shipped = ["preact", "@preact/signals", "@preact/signals-core", "d3-hierarchy"];

/** The licences of what is in the bundle: they ask to come along. */
const licences = {
  name: "licences",
  generateBundle() {
    const texts = shipped.map((name) => {
      const found = ["LICENSE", "LICENSE.md", "LICENSE.txt"].map((file) => `node_modules/${name}/${file}`).find(existsSync);
      if (!found) throw new Error(`${name} has no licence`);
      return `${name}\n\n${readFileSync(found, "utf8").trim()}\n`;
    });
    this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) });
  },
};

const bundles = {
  report: { entry: "src/main.tsx", room: "pages" },
  serve: { entry: "src/serve/main.tsx", room: "serve" },
};

export default defineConfig(({ mode }) => {
  const name = mode === "serve" ? "serve" : "report";
  const { entry, room } = bundles[name];
  return {
    plugins: [licences],
    esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none", charset: "ascii" },
    build: {
      target: "es2022",
      outDir: `${process.env.WEB_OUT ?? "../src/dregutil"}/${room}/bundle`,
      emptyOutDir: true,
      modulePreload: false,
      cssCodeSplit: false,
      reportCompressedSize: false,
      lib: { entry, formats: ["iife"], name, fileName: () => `${name}.js`, cssFileName: name },
    },
    test: { include: ["tests/*.test.ts"], environment: "node" },
  };
});
