/** Builds the console into dist/: the app with stable names, and the proof viewer as one saved page. */
import { createHash } from "node:crypto";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { build } from "vite";
import "./types.mjs";

const root = new URL("..", import.meta.url).pathname;
const dist = join(root, "dist");
const SCRIPT_MAX = 120 * 1024;

for (const name of readdirSync(dist)) if (!name.startsWith(".")) rmSync(join(dist, name), { recursive: true });
await build({ root, logLevel: "warn" });

// The saved page: script and sheet are in it, and its own policy names their digests.
const out = mkdtempSync(join(tmpdir(), "placet-console-"));
try {
	await build({
		root,
		configFile: false,
		logLevel: "warn",
		plugins: [svelte()],
		publicDir: false,
		build: {
			target: "es2023",
			outDir: out,
			emptyOutDir: true,
			lib: {
				entry: "src/saved.ts",
				formats: ["iife"],
				name: "placet",
				fileName: () => "saved.js",
				cssFileName: "saved",
			},
		},
	});
	const script = readFileSync(join(out, "saved.js"), "utf8").trim().replaceAll("</script", "<\\/script");
	const sheet = readFileSync(join(out, "saved.css"), "utf8").trim();
	const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
	const policy = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(sheet)}; base-uri 'none'; form-action 'none'`;
	const page = [
		'<!doctype html><html lang="en"><head><meta charset="utf-8">',
		`<meta http-equiv="content-security-policy" content="${policy}">`,
		'<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">',
		`<title>Placet proof viewer</title><style>${sheet}</style></head>`,
		`<body><div id="app"></div><script>${script}</script></body></html>\n`,
	];
	writeFileSync(join(dist, "proof-viewer.html"), page.join(""));
} finally {
	rmSync(out, { recursive: true });
}
for (const name of ["placet.rules.yml", "grafana-dashboard.json"])
	copyFileSync(join(root, "monitoring", name), join(dist, name));

const script = gzipSync(readFileSync(join(dist, "app.js"))).length;
for (const name of readdirSync(dist).filter((name) => !name.startsWith("."))) {
	console.log(`${name.padEnd(24)} ${statSync(join(dist, name)).size} bytes`);
}
console.log(`app.js with gzip         ${script} bytes, of ${SCRIPT_MAX}`);
if (script > SCRIPT_MAX) throw new Error("the script is larger than it may be");
