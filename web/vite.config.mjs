// One script and one style, with names that stay, which Python puts into the page. Both are the same bytes wherever they
// are built from the lock file.
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

export default defineConfig({
  plugins: [licences],
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none", charset: "ascii" },
  build: {
    target: "es2022",
    outDir: process.env.WEB_OUT ?? "../src/dregutil/pages/bundle",
    emptyOutDir: true,
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: false,
    lib: { entry: "src/main.tsx", formats: ["iife"], name: "report", fileName: () => "report.js", cssFileName: "report" },
  },
  test: { include: ["tests/*.test.ts"], environment: "node" },
});
