/** A domain, its node and a browser, each a real one, for tests and pictures. All of it ends with the test. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { on } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const root = new URL("../..", import.meta.url).pathname;
const target = process.env["CARGO_TARGET_DIR"] ?? join(root, "target");
export const PLACET = process.env["PLACET_BIN"] ?? join(target, "debug/placet");
const BROWSERS = ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"];

export class Place {
	constructor() {
		this.root = mkdtempSync(join(tmpdir(), "placet-console-"));
		this.work = join(this.root, "work");
		mkdirSync(this.work);
		this.children = [];
		this.demos = [];
		this.env = {
			PATH: process.env["PATH"],
			HOME: this.root,
			PLACET_DOMAIN: join(this.root, "domain"),
			PLACET_PRINCIPAL: "user:op",
		};
		this.ok("init", "--name", "placet.test/console", "--operator", "user:op");
	}

	run(...args) {
		return spawnSync(PLACET, args, { cwd: this.work, env: this.env, encoding: "utf8", timeout: 60_000 });
	}

	ok(...args) {
		const done = this.run(...args);
		if (done.status !== 0)
			throw new Error(`placet ${args.join(" ")}: ${done.status} ${done.stderr}${done.error ?? ""}`);
		return done.stdout;
	}

	start(...args) {
		const child = spawn(PLACET, args, { cwd: this.work, env: this.env, stdio: ["ignore", "pipe", "pipe"] });
		child.ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
		child.errors = "";
		child.stderr.on("data", (data) => {
			child.errors = (child.errors + data).slice(-4000);
		});
		child.stdout.resume();
		this.children.push(child);
		return child;
	}

	/** Serves on this port, or on a free one. */
	async up(port = 0, more = {}, options = []) {
		const child = spawn(PLACET, ["up", "--listen", `127.0.0.1:${port}`, ...options], {
			cwd: this.work,
			env: { ...this.env, PLACET_LOG_FORMAT: "json", ...more },
			stdio: ["ignore", "ignore", "pipe"],
		});
		child.ended = new Promise((resolve) => child.once("exit", resolve));
		this.children.push(child);
		const said = [];
		this.said = said;
		const lines = createInterface({ input: child.stderr });
		lines.on("line", (line) => {
			if (said.push(line) > 100) said.shift();
		});
		for await (const line of on(lines, "line", { close: ["close"] })) {
			const event = line[0].startsWith("{") ? JSON.parse(line[0]) : {};
			if (event.event === "serving") {
				this.node = child;
				this.address = `http://${event.listen}`;
				return this;
			}
		}
		throw new Error(`the node does not serve: ${said.join("\n")}`);
	}

	/** A demo of its own, with the link that it prints. It removes itself. */
	async demo() {
		const child = spawn(PLACET, ["demo", "--page"], {
			cwd: this.work,
			env: this.env,
			stdio: ["ignore", "pipe", "pipe"],
		});
		child.ended = new Promise((resolve) => child.once("exit", (code) => resolve(code)));
		this.children.push(child);
		this.demos.push(child);
		child.errors = "";
		child.stderr.on("data", (data) => {
			child.errors += data;
		});
		for await (const line of createInterface({ input: child.stdout })) {
			if (line.startsWith("http://")) {
				child.stdout.resume();
				return { child, link: line.trim(), address: new URL(line.trim()).origin };
			}
		}
		throw new Error(`no demo: ${child.errors}`);
	}

	async down() {
		this.node.kill("SIGTERM");
		this.node.kill("SIGTERM");
		await this.node.ended;
	}

	/** A command that runs until it is ended, once it is recorded as running. */
	async running(argv = ["sleep", "600"], as = "agent:coder") {
		const before = this.executions().filter((one) => one.running_since).length;
		const child = this.start("run", "--as", as, "--", ...argv);
		await eventually(
			`${argv} runs`,
			() => this.executions().filter((one) => one.running_since).length > before,
			() => child.errors,
		);
		return child;
	}

	executions() {
		return JSON.parse(this.ok("executions", "--running", "--json"));
	}

	/** Puts the starter bundle in force, with this change to a member. */
	activate(path, from, to) {
		const dir = join(this.root, "bundle");
		if (!existsSync(dir)) this.ok("policy", "init", dir);
		const text = readFileSync(join(dir, path), "utf8");
		writeFileSync(join(dir, path), text.replace(from, to));
		const manifest = readFileSync(join(dir, "bundle.toml"), "utf8");
		writeFileSync(
			join(dir, "bundle.toml"),
			manifest.replace(/revision = (\d+)/, (_, revision) => `revision = ${Number(revision) + 1}`),
		);
		this.ok("policy", "activate", dir);
	}

	/** Puts what this configuration says in force, with the next start. */
	configure(text) {
		writeFileSync(join(this.root, "domain/placet.toml"), text);
	}

	/** Puts the starter bundle in force, with these rules about who is who. */
	map(identities) {
		const dir = join(this.root, "bundle");
		if (!existsSync(dir)) this.ok("policy", "init", dir);
		writeFileSync(join(dir, "identities.toml"), identities);
		this.activate("bundle.toml", "", "");
	}

	link() {
		return JSON.parse(this.ok("console", "--json")).url;
	}

	async end() {
		// A demo removes itself, when it may.
		for (const demo of this.demos) {
			demo.kill("SIGTERM");
			await Promise.race([demo.ended, new Promise((resolve) => setTimeout(resolve, 15_000).unref())]);
		}
		for (const child of this.children) if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
		await Promise.all(this.children.map((child) => child.ended));
		// A supervisor that lost its node starts another, which goes when it is told to.
		await eventually("the domain is gone", () => {
			this.run("node", "stop");
			try {
				rmSync(this.root, { recursive: true, force: true });
				return true;
			} catch {
				return false;
			}
		});
	}
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds that is serious. It is put into the page by the debugger, so that the page's own policy stays. */
export async function accessible(page) {
	await page.evaluate(axe);
	const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
	const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
	return serious.map(
		({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`,
	);
}

export async function eventually(what, look, why = () => "") {
	for (let at = 0; at < 200; at += 1) {
		const found = await look();
		if (found) return found;
		await new Promise((resolve) => setTimeout(resolve, 100));
	}
	throw new Error(`never: ${what} ${why()}`);
}

export async function browser() {
	const executablePath = process.env["PLACET_CHROMIUM"] ?? BROWSERS.find((path) => existsSync(path));
	if (!executablePath) throw new Error("there is no Chromium; scripts/setup-test-tools.sh installs Debian's");
	return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
}

/** Where the pages come from in place of the program: to look at a change without building the program anew. */
const DIST = process.env["PLACET_CONSOLE_DIST"];

function fromDist(route) {
	const name = new URL(route.request().url()).pathname.split("/").at(-1);
	return route.fulfill({ path: join(DIST, name.includes(".") ? name : "index.html") });
}

/** A page of a browser of its own, which fails on any error of the program and on any request to elsewhere. */
export async function page(browser, place, options = {}) {
	const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
	if (DIST) await context.route(`${place.address}/console/**`, fromDist);
	const page = await context.newPage();
	page.faults = [];
	page.on("pageerror", (error) => page.faults.push(String(error)));
	page.on("console", (message) => {
		// What the server refuses is shown by the page; the browser's own line about it is no fault.
		const refused = message.text().startsWith("Failed to load resource");
		if (message.type() === "error" && !refused) page.faults.push(message.text());
	});
	page.on("request", (request) => {
		const { protocol, origin } = new URL(request.url());
		if (["http:", "https:"].includes(protocol) && origin !== place.address && origin !== place.provider)
			page.faults.push(`asks elsewhere: ${request.url()}`);
	});
	page.setDefaultTimeout(15_000);
	return page;
}

export async function signedIn(browser, place, options) {
	const signed = await page(browser, place, options);
	await signed.goto(place.link());
	await signed.getByRole("heading", { name: "Now", exact: true }).waitFor();
	return signed;
}

export const heading = (page, name) => page.getByRole("heading", { name, level: 1 }).waitFor();

/** Nothing went wrong in the page, and nothing was asked elsewhere. */
export const fine = (page) => assert.deepEqual(page.faults, []);

export const at = (page, place, surface) => page.goto(`${place.address}/console/#/${surface}`);

/** A browser whose key stands for this principal, once it is registered: the page finds out by itself. */
export async function known(browser, place, ...principal) {
	const known = await page(browser, place);
	await known.goto(`${place.address}/console/`);
	await heading(known, "Sign in");
	const command = await known.getByText("placet principal set user:NAME --key").innerText();
	const key = command.split(" ").at(-1);
	place.ok("principal", "set", ...principal, "--key", key);
	await heading(known, "Now");
	return { page: known, key };
}
