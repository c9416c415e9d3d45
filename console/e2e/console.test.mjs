/** The console in a real browser, on a real node: each surface, each role. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { eventually, browser as launch, page as newPage, Place, signedIn } from "./support.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SURFACES = [
	"now",
	"decisions",
	"approvals",
	"lineage",
	"records",
	"principals",
	"policy",
	"proof",
	"health",
	"you",
];

let place;
let browser;

before(async () => {
	place = new Place();
	await place.up();
	browser = await launch();
	place.run("run", "--as", "agent:coder", "--", "true");
	place.run("run", "--as", "agent:coder", "--", "git", "push");
});
after(async () => {
	await browser?.close();
	await place?.end();
});

const heading = (page, name) => page.getByRole("heading", { name, level: 1 }).waitFor();
const fine = (page) => assert.deepEqual(page.faults, []);

/** Axe is put into the page by the debugger, so that the page's own policy stays as it is. */
async function accessible(page) {
	await page.evaluate(axe);
	const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
	const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
	return serious.map(
		({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`,
	);
}

test("a link signs in once, and leaves no trace in the address", async () => {
	const link = place.link();
	const page = await newPage(browser, place);
	await page.goto(link);
	await heading(page, "Now");
	assert.ok(!page.url().includes("link="), page.url());
	assert.deepEqual(await page.context().cookies(), []);
	// The key cannot be taken out of the browser.
	const extractable = await page.evaluate(
		() =>
			new Promise((resolve) => {
				const opening = indexedDB.open("placet-console", 1);
				opening.onsuccess = () => {
					const asked = opening.result.transaction("keys").objectStore("keys").get("own");
					asked.onsuccess = () => resolve(asked.result.privateKey.extractable);
				};
			}),
	);
	assert.equal(extractable, false);
	await page.reload();
	await heading(page, "Now");
	fine(page);

	const second = await newPage(browser, place);
	await second.goto(link);
	await second.getByText("That link does not sign in").waitFor();
	await heading(second, "Sign in");
	await page.getByRole("button", { name: "Sign out" }).click();
	await heading(page, "Sign in");
	await page.context().close();
	await second.context().close();
});

test("every page shows, with nothing inline, from elsewhere, or in anybody's way", async () => {
	const page = await signedIn(browser, place);
	for (const scheme of ["light", "dark"]) {
		await page.emulateMedia({ colorScheme: scheme });
		for (const surface of SURFACES) {
			await page.goto(`${place.address}/console/#/${surface}`);
			await page.getByRole("heading", { level: 1 }).first().waitFor();
			await page.waitForTimeout(250);
			assert.deepEqual(await accessible(page), [], `${surface}, ${scheme}`);
		}
	}
	fine(page);
	await page.context().close();
});

test("a revocation ends a running command while the page shows it", async () => {
	const command = await place.running();
	const page = await signedIn(browser, place);
	const row = page.getByRole("row", { name: /sleep/ });
	await row.waitFor();
	await row.getByRole("button", { name: "End" }).click();
	await page.getByRole("dialog").getByRole("button", { name: "End it" }).click();
	const { code } = await command.ended;
	assert.equal(code, 121, command.errors);
	await page.getByText("Nothing runs", { exact: true }).waitFor();
	await page
		.getByRole("region", { name: "Latest records" })
		.getByText(/by user:op: ended from the console/)
		.waitFor();
	fine(page);
	await page.context().close();
});

test("halt says what it ends, and only then ends it; the domain continues again", async () => {
	const command = await place.running(["sleep", "601"]);
	const page = await signedIn(browser, place);
	await page.getByRole("row", { name: /sleep/ }).waitFor();
	await page.getByRole("button", { name: "Halt the domain" }).click();
	const dialog = page.getByRole("dialog");
	await dialog.getByText("1 running execution is ended at once").waitFor();
	await page.keyboard.press("Escape");
	await dialog.waitFor({ state: "detached" });
	assert.equal(command.exitCode, null);
	await page.getByRole("button", { name: "Halt the domain" }).click();
	assert.ok(await dialog.getByRole("button", { name: "Halt" }).isDisabled());
	await dialog.getByLabel("Reason").fill("drill");
	await dialog.getByRole("button", { name: "Halt" }).click();
	assert.equal((await command.ended).code, 121, command.errors);
	await page.getByText("The domain is halted").waitFor();
	await page.getByRole("button", { name: "Let it continue" }).click();
	await dialog.getByLabel("Reason").fill("drill is over");
	await dialog.getByRole("button", { name: "Continue" }).click();
	await page.getByRole("button", { name: "Halt the domain" }).waitFor();
	fine(page);
	await page.context().close();
});

test("a denial is explained in words, and leads to its policy and its proof", async () => {
	const page = await signedIn(browser, place);
	await page.goto(`${place.address}/console/#/decisions?status=denied`);
	await heading(page, "Decisions");
	await page
		.getByRole("row", { name: /policy_forbids/ })
		.getByRole("link")
		.first()
		.click();
	await page.getByText(/It was denied with policy_forbids by check \d+/).waitFor();
	await page.getByRole("button", { name: "Show them" }).click();
	await page.getByText('"push"').waitFor();
	await page.getByRole("link", { name: "Verify the proof" }).click();
	await page.getByText(/^Verified/).waitFor();
	fine(page);
	await page.context().close();
});

test("a proof is verified in the browser; one that was tampered with is refused at the step that placet verify names", async () => {
	const records = JSON.parse(place.ok("executions", "--json"));
	const permitted = records.find((one) => one.status === "completed");
	const bundle = place.ok("log", "proof", permitted.exec, "--bundle", "--disclose");
	const policy = readFileSync(join(place.root, "domain/domain.tlog-policy"), "utf8");
	const page = await newPage(browser, place);
	await page.goto(`${place.address}/console/#/proof`);
	await page.getByLabel("Policy file of the domain").fill(policy);
	const parsed = JSON.parse(bundle);
	const flip = (text, at) => text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
	const bent = {
		"record.entry": { ...parsed, record: { ...parsed.record, entry: flip(parsed.record.entry, 400) } },
		"record.proof": {
			...parsed,
			record: { ...parsed.record, proof: parsed.record.proof.replace(/^index \d+/m, "index 1") },
		},
		"genesis.entry": { ...parsed, genesis: { ...parsed.genesis, entry: flip(parsed.genesis.entry, 300) } },
		artifact: { ...parsed, artifact: flip(parsed.artifact, 700) },
		disclosed: {
			...parsed,
			disclosed: { ...parsed.disclosed, params: parsed.disclosed.params.replace("true", "false") },
		},
		"related.entry": { ...parsed, related: [{ ...parsed.related[0], entry: flip(parsed.related[0].entry, 200) }] },
		format: { ...parsed, format: "placet-proof-bundle/v2" },
		unknown: { ...parsed, more: 1 },
		whole: parsed,
	};
	const policyFile = join(place.root, "policy");
	writeFileSync(policyFile, policy);
	for (const [name, value] of Object.entries(bent)) {
		const text = JSON.stringify(value);
		const file = join(place.root, "bundle.json");
		writeFileSync(file, text);
		const rust = JSON.parse(place.run("verify", file, "--policy", policyFile, "--json").stdout);
		await page.getByLabel("Proof bundle").fill(text);
		const verdict = rust.verified ? /^Verified/ : `Failed at “${rust.failed}”`;
		await page
			.getByText(verdict)
			.waitFor()
			.catch((error) => {
				throw new Error(`${name}: placet verify says ${rust.failed}: ${error}`);
			});
		assert.equal(rust.verified, name === "whole", name);
	}
	fine(page);
	await page.context().close();
});

test("the saved viewer verifies from the disk, without a server", async () => {
	const saved = await fetch(`${place.address}/console/proof-viewer.html`);
	assert.match(saved.headers.get("content-disposition"), /attachment/);
	const file = join(place.root, "viewer.html");
	writeFileSync(file, await saved.text());
	const page = await newPage(browser, place, { offline: true });
	await page.goto(`file://${file}`);
	await page
		.getByLabel("Policy file of the domain")
		.fill(readFileSync(join(place.root, "domain/domain.tlog-policy"), "utf8"));
	await page.getByLabel("Proof bundle").fill(place.ok("log", "proof", "0", "--bundle"));
	await page.getByText(/^Verified/).waitFor();
	fine(page);
	await page.context().close();
});

test("by keyboard alone: to a page, through a filter, to an execution, and on the field", async () => {
	const page = await signedIn(browser, place);
	const press = async (key, times = 1) => {
		for (let at = 0; at < times; at += 1) await page.keyboard.press(key);
	};
	const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? "");
	const tabTo = async (text) => {
		for (let at = 0; at < 40; at += 1) {
			if ((await focused()) === text) return;
			await press("Tab");
		}
		assert.fail(`never focused: ${text}`);
	};
	await tabTo("Decisions");
	await press("Enter");
	await heading(page, "Decisions");
	await page.getByRole("row").nth(1).waitFor();
	await eventually("a row's link has the focus", async () => {
		await press("Tab");
		return /^\d+$/.test(await focused());
	});
	await press("Enter");
	await page.getByRole("heading", { name: "In words" }).waitFor();
	await page.goto(`${place.address}/console/#/lineage`);
	await page.locator("canvas").focus();
	await press("End");
	await page.getByRole("button", { name: "Verify here" }).waitFor();
	await press("ArrowLeft");
	await press("Enter");
	await page.getByRole("heading", { name: "In words" }).waitFor();
	fine(page);
	await page.context().close();
});

test("an auditor sees everything and ends nothing; a member sees what is theirs; the public sees proofs", async () => {
	const page = await newPage(browser, place);
	await page.goto(`${place.address}/console/`);
	await heading(page, "Sign in");
	const command = await page.getByText("placet principal set user:NAME --key").innerText();
	const key = command.split(" ").at(-1);
	for (const surface of ["decisions", "lineage", "principals", "policy"]) {
		await page.goto(`${place.address}/console/#/${surface}`);
		await heading(page, "Sign in");
	}
	await page.goto(`${place.address}/console/#/proof`);
	await heading(page, "Proof");

	place.ok("principal", "set", "user:audit", "--group", "auditors", "--key", key);
	await page.goto(`${place.address}/console/#/now`);
	await page.reload();
	await heading(page, "Now");
	await page.getByText("(auditor)").waitFor();
	assert.equal(await page.getByRole("button", { name: "Halt the domain" }).count(), 0);
	await page.goto(`${place.address}/console/#/decisions`);
	await page.getByRole("row", { name: /policy_forbids/ }).waitFor();
	const refused = await page.evaluate(
		async () =>
			(
				await fetch("/v1/halt", {
					method: "POST",
					headers: { "content-type": "application/json" },
					body: '{"reason":"x"}',
				})
			).status,
	);
	assert.equal(refused, 401);

	place.ok("principal", "set", "user:audit", "--key", key);
	await page.goto(`${place.address}/console/#/decisions`);
	await page.reload();
	await page.getByText("(member)").waitFor();
	await page.getByText("No decision fits").waitFor();
	fine(page);
	await page.context().close();
});

test("an approval is signed by the browser's own key, for exactly what is shown", async () => {
	const page = await newPage(browser, place);
	await page.goto(`${place.address}/console/`);
	const command = await page.getByText("placet principal set user:NAME --key").innerText();
	place.ok("principal", "set", "user:lead", "--group", "leads", "--key", command.split(" ").at(-1));
	place.activate(
		"policies/operators.cedar",
		'@lifetime("12h")',
		'@lifetime("12h")\n@approvals("1 of leads within 10m")',
	);
	await page.goto(`${place.address}/console/#/approvals`);
	await page.reload();
	await page.getByText("Nothing waits for approval", { exact: true }).waitFor();
	for (const [verdict, button, status] of [
		["Approve", "Sign and approve", 0],
		["Reject", "Sign and reject", 120],
	]) {
		const asked = place.start("run", "--", "echo", verdict);
		await page.locator("pre", { hasText: `echo ${verdict}` }).waitFor();
		await page.getByText("this browser opened the commitment").waitFor();
		await page.getByRole("button", { name: verdict, exact: true }).click();
		await page.getByRole("dialog").getByLabel("Reason").fill("looked at it");
		await page.getByRole("dialog").getByRole("button", { name: button }).click();
		const { code } = await asked.ended;
		assert.equal(code, status, asked.errors);
		await page.getByText(verdict === "Approve" ? "Nothing waits for approval" : "Rejected.", { exact: true }).waitFor();
	}
	fine(page);
	await page.context().close();
	place.activate("policies/operators.cedar", '@approvals("1 of leads within 10m")\n', "");
});

test("other arguments than the intent commits to are shown as what they are, and cannot be approved", async () => {
	const page = await newPage(browser, place);
	await page.goto(`${place.address}/console/`);
	const command = await page.getByText("placet principal set user:NAME --key").innerText();
	place.ok("principal", "set", "user:lead2", "--group", "leads", "--key", command.split(" ").at(-1));
	place.activate(
		"policies/operators.cedar",
		'@lifetime("12h")',
		'@lifetime("12h")\n@approvals("1 of leads within 10m")',
	);
	// A node that shows something harmless for what it was asked.
	await page.route("**/v1/approvals", async (route) => {
		const response = await route.fetch();
		const body = await response.text();
		await route.fulfill({ response, body: body.replaceAll("harmful", "harmless") });
	});
	const asked = place.start("run", "--", "echo", "harmful");
	await page.goto(`${place.address}/console/#/approvals`);
	await page.reload();
	await page.locator("pre", { hasText: "echo harmless" }).waitFor();
	await page.getByText("The commitment opens to something else").waitFor();
	assert.equal(await page.getByRole("button", { name: "Approve", exact: true }).count(), 0);
	await page.getByRole("button", { name: "Reject", exact: true }).click();
	await page.getByRole("dialog").getByLabel("Reason").fill("not what it seems");
	await page.getByRole("dialog").getByRole("button", { name: "Sign and reject" }).click();
	assert.equal((await asked.ended).code, 120, asked.errors);
	await page.context().close();
	place.activate("policies/operators.cedar", '@approvals("1 of leads within 10m")\n', "");
});

test("lineage is saved for other tools, and its proofs are verified where it is looked at", async () => {
	const page = await signedIn(browser, place);
	await page.goto(`${place.address}/console/#/lineage`);
	const saved = async (name) => {
		const [download] = await Promise.all([
			page.waitForEvent("download"),
			page.getByRole("button", { name, exact: true }).click(),
		]);
		return readFileSync(await download.path());
	};
	assert.ok((await saved("PNG")).subarray(1, 4).equals(Buffer.from("PNG")));
	const prov = JSON.parse(await saved("PROV"));
	assert.ok(prov.prefix && Object.keys(prov.activity).length > 0, Object.keys(prov));
	const spans = JSON.parse(await saved("OTLP")).resourceSpans[0].scopeSpans[0].spans;
	assert.ok(spans.every((span) => /^[0-9a-f]{32}$/.test(span.traceId)));
	await page.getByRole("application").press("End");
	await page.getByRole("button", { name: "Verify here" }).click();
	await page.getByRole("status").getByText("Verified", { exact: true }).waitFor();
	fine(page);
	await page.context().close();
});

test("a policy is shown with its tests, its use, its shadow and what was in force before", async () => {
	const page = await signedIn(browser, place);
	await page.goto(`${place.address}/console/#/policy`);
	await heading(page, "Policy");
	const tab = (name) => page.getByRole("navigation", { name: "Of the policy" }).getByRole("link", { name }).click();
	await tab("Tests");
	await page.getByRole("heading", { name: /^\d+ tests$/ }).waitFor();
	await tab("In use");
	await page.getByRole("heading", { name: "What each policy determined" }).waitFor();
	await page.locator("meter").first().waitFor();
	assert.deepEqual(await accessible(page), []);
	await tab("Shadow");
	await page.getByText("No bundle is decided in the shadow").waitFor();
	await tab("Activations");
	await page
		.getByRole("row", { name: /starter, revision/ })
		.first()
		.waitFor();
	fine(page);
	await page.context().close();
});

test("`placet up` prints a link, too, where it is asked for", async () => {
	const other = new Place();
	try {
		await other.up(0, {}, ["--link"]);
		const link = await eventually("a link", () => other.said.join("\n").match(/http:\S+#link=\S+/)?.[0]);
		const page = await newPage(browser, other);
		await page.goto(link);
		await heading(page, "Now");
		await page.getByText("(operator)").waitFor();
		await page.context().close();
	} finally {
		await other.end();
	}
});

test("the stream is resumed after the node was away: no record is lost, and none comes twice", async () => {
	const page = await newPage(browser, place);
	await page.goto(`${place.address}/console/`);
	const command = await page.getByText("placet principal set user:NAME --key").innerText();
	place.ok("principal", "set", "user:watch", "--group", "auditors", "--key", command.split(" ").at(-1));
	await page.goto(`${place.address}/console/#/records`);
	await page.reload();
	await heading(page, "Records");
	const indices = () =>
		page
			.getByRole("region", { name: "Latest records" })
			.getByRole("row")
			.evaluateAll((rows) =>
				rows.map((row) => Number(row.cells[0]?.textContent)).filter((index) => !Number.isNaN(index)),
			);
	await eventually("records show", async () => (await indices()).length > 3);
	const first = (await indices()).at(-1);
	const port = new URL(place.address).port;
	for (let round = 0; round < 2; round += 1) {
		await place.down();
		await page.getByText("offline", { exact: true }).waitFor();
		// Recorded while nobody serves the page.
		place.run("run", "--as", "agent:coder", "--", "true");
		place.ok("node", "stop");
		await eventually(
			"the other node is gone",
			() => JSON.parse(place.ok("node", "status", "--json")).running === false,
		);
		await place.up(port);
	}
	await page.getByText("live", { exact: true }).waitFor();
	place.run("run", "--as", "agent:coder", "--", "true");
	const size = JSON.parse(place.ok("node", "status", "--json")).size;
	const seen = await eventually("the last record shows", async () => {
		const found = await indices();
		return found[0] === size - 1 && found;
	});
	const all = Array.from({ length: size - first }, (_, at) => size - 1 - at);
	assert.deepEqual(seen, all);
	fine(page);
	await page.context().close();
});
