import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

/** Stable names, one script, one sheet, nothing inline: see scripts/build.mjs for the saved page. */
export default defineConfig({
	base: "./",
	plugins: [svelte()],
	build: {
		target: "es2023",
		outDir: "dist",
		emptyOutDir: false,
		modulePreload: false,
		cssCodeSplit: false,
		assetsInlineLimit: 0,
		rollupOptions: {
			output: {
				entryFileNames: "app.js",
				assetFileNames: (asset) => (asset.names[0]?.endsWith(".css") ? "app.css" : "[name][extname]"),
				codeSplitting: false,
			},
		},
	},
	test: { include: ["test/**/*.test.ts"] },
});
