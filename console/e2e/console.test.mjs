/** The console in a real browser, on a real node: each surface, each role. */
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
	accessible,
	at,
	eventually,
	fine,
	heading,
	known,
	browser as launch,
	page as newPage,
	Place,
	signedIn,
} from "./support.mjs";

const SURFACES = [
	"now",
	"decisions",
	"approvals",
	"lineage",
	"records",
	"principals",
	"policy",
	"policy/compare",
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
	await second.getByText("That did not sign you in").waitFor();
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

test("an operator has the log checked, and Health says what was found", async () => {
	const page = await signedIn(browser, place);
	await at(page, place, "health");
	const log = page.locator("#health-log");
	await log.getByText("Read through").waitFor();
	await log.getByRole("button", { name: "Check now" }).click();
	// Both: that the log is what was signed, and that its decisions follow from it.
	await eventually("both are made", async () => (await log.getByText("sound", { exact: true }).count()) === 2);
	await log
		.getByRole("link", { name: /^\d+ records$/ })
		.last()
		.waitFor();
	await page
		.getByRole("row", { name: /PlacetLogAmiss/ })
		.getByText("ok", { exact: true })
		.waitFor();
	// A command that was run left a gateway, which waits for the next.
	place.ok("run", "--", "true");
	const gateways = page.locator("#health-gateways dd").first();
	await eventually("one waits", async () => /^[12] of 2$/.test(await gateways.innerText()));
	assert.deepEqual(await accessible(page), []);
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
	for (const key of ["+", "+", "PageUp", "PageDown", "-", "0", "Escape"]) await press(key);
	await page.getByText("Nothing chosen").waitFor();
	await press("End");
	await page.waitForURL(/focus=exec_/);
	await tabTo("Verify here");
	await press("Enter");
	await page.getByRole("status").getByText("Verified", { exact: true }).waitFor();
	await page.locator("canvas").focus();
	await press("ArrowLeft");
	await press("Enter");
	await page.getByRole("heading", { name: "In words" }).waitFor();
	// By the link that stands in its address it is chosen again, for whoever opens it.
	await page.goBack();
	await page.getByRole("button", { name: "Verify here" }).waitFor();
	fine(page);
	await page.context().close();
});

/** Numbers on the page that lead nowhere and are no measure, time, name or text of a program. */
const loose = (page) =>
	page.evaluate(() => {
		const exempt =
			"a, button, summary, time, code, pre, .mono, .measure, [data-words], select, textarea, svg, .hidden, option";
		const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
		const found = [];
		for (let text = texts.nextNode(); text; text = texts.nextNode()) {
			if (/\d/.test(text.data) && !text.parentElement.closest(exempt)) found.push(text.parentElement.outerHTML);
		}
		return found;
	});
/** Links that are shown for numbers, and lead to no page. */
const lost = (page) =>
	page.evaluate(() =>
		[...document.querySelectorAll("main a")]
			.filter((link) => /^[\d,+]+/.test(link.textContent.trim()))
			.map((link) => link.getAttribute("href"))
			.filter((to) => !/^#\/(x|proof|records|decisions|approvals|policy|health|lineage)\b/.test(to)),
	);

test("every number leads to what it counts, and a list fits on a phone", async () => {
	const command = await place.running(["sleep", "604"]);
	const page = await signedIn(browser, place);
	const exec = place.executions()[0].exec;
	for (const width of [1440, 390]) {
		await page.setViewportSize({ width, height: 844 });
		for (const surface of [...SURFACES, `x/${exec}`, "policy/tests", "policy/use", "policy/past"]) {
			await page.goto(`${place.address}/console/#/${surface}`);
			await page.getByRole("heading", { level: 1 }).first().waitFor();
			await page.waitForTimeout(surface === "health" ? 600 : 250);
			assert.deepEqual(await loose(page), [], surface);
			assert.deepEqual(await lost(page), [], surface);
			const cut = await page.evaluate(() =>
				[document.documentElement, ...document.querySelectorAll("main .scroll:not(.source)")]
					.filter((one) => one.scrollWidth > one.clientWidth + 1)
					.map((one) => one.outerHTML.slice(0, 300)),
			);
			if (width === 390) assert.deepEqual(cut, [], surface);
		}
	}
	// The figure and the list that it leads to say the same.
	await page.setViewportSize({ width: 1440, height: 844 });
	await page.goto(`${place.address}/console/#/policy/use`);
	const row = page.getByRole("row", { name: /agents-no-remote-git/ });
	const times = await row.getByRole("link", { name: /^\d+$/ }).innerText();
	await row.getByRole("link", { name: /^\d+$/ }).click();
	await heading(page, "Decisions");
	await page.getByText("Only determined by").waitFor();
	await page.getByRole("row").nth(1).waitFor();
	assert.equal((await page.getByRole("row").count()) - 1, Number(times));
	await page.getByRole("link", { name: "Take every filter away" }).click();
	await page.getByRole("row", { name: /sleep/ }).first().waitFor();
	// A filter that is written stands in the address, for somebody else to open.
	await page.getByLabel("principal").fill("coder");
	await page.getByText(/A principal looks like/).waitFor();
	await page.getByLabel("principal").fill("agent:coder");
	await page.waitForURL(/principal=agent%3Acoder/);
	fine(page);
	await page.context().close();
	place.run("revoke", exec, "--reason", "over");
	await command.ended;
});

test("the key of a browser that is signed in comes to count by the command that the page shows", async () => {
	const page = await signedIn(browser, place);
	await page.goto(`${place.address}/console/#/approvals`);
	await heading(page, "Approvals");
	await page.goto(`${place.address}/console/#/you`);
	const command = await page.getByText(/^placet principal add-key /).innerText();
	const groups = () => JSON.parse(place.ok("principal", "list", "--json")).find((one) => one.id === "user:op");
	const before = groups();
	const [, ...words] = command.split(" ");
	assert.equal(words[2], "user:op");
	place.ok(...words);
	await page.getByText(/This browser's key signs approvals for/).waitFor();
	// What it had before, it has still.
	assert.deepEqual({ ...groups(), keys: [] }, { ...before, keys: [] });
	await page.getByText("(operator)").waitFor();
	place.ok("principal", "remove-key", ...words.slice(2));
	assert.deepEqual(groups(), before);
	fine(page);
	await page.context().close();
});

test("an approval is signed by the browser's own key, for exactly what is shown", async () => {
	const { page } = await known(browser, place, "user:lead", "--group", "leads");
	place.activate(
		"policies/operators.cedar",
		'@lifetime("12h")',
		'@lifetime("12h")\n@approvals("1 of leads within 10m")',
	);
	await page.goto(`${place.address}/console/#/approvals`);
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
	const { page } = await known(browser, place, "user:lead2", "--group", "leads");
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
	// By risk: as the decisions recorded it.
	const total = await page.getByText(/^\d+ executions$/).innerText();
	await page.getByLabel("Risk").selectOption("1");
	await page.getByText(/^\d+ of \d+ executions$/).waitFor();
	await page.getByRole("button", { name: "Table" }).click();
	const risks = await page
		.getByRole("row")
		.evaluateAll((rows) => rows.slice(1).map((row) => Number(row.cells[4]?.textContent)));
	assert.ok(risks.length > 0 && risks.every((risk) => risk >= 1), `${risks} of ${total}`);
	await page.getByLabel("Risk").selectOption("");
	await page.getByRole("button", { name: "Field" }).click();
	await page.getByRole("application").press("End");
	await page.getByRole("button", { name: "Verify here" }).click();
	await page.getByRole("status").getByText("Verified", { exact: true }).waitFor();
	fine(page);
	await page.context().close();
});

test("a time is chosen on the strip of the lineage or in its fields, and can be passed on", async () => {
	const page = await signedIn(browser, place);
	await page.goto(`${place.address}/console/#/lineage`);
	await page.getByText(/^\d+ executions$/).waitFor();
	const strip = await page.getByRole("application").boundingBox();
	const y = strip.y + strip.height - 30;
	await page.mouse.move(strip.x + 1, y);
	await page.mouse.down();
	await page.mouse.move(strip.x + strip.width / 2, y, { steps: 4 });
	await page.mouse.up();
	const counted = page.getByRole("link", { name: /^\d+ of \d+ executions$/ });
	const [some, all] = (await counted.innerText()).match(/\d+/g).map(Number);
	assert.ok(some > 0 && some < all, `${some} of ${all}`);
	// Somebody else who opens the address sees the same, and the number leads to what it counts.
	const other = await signedIn(browser, place);
	await other.goto(page.url());
	await other.getByRole("link", { name: `${some} of ${all} executions` }).click();
	await eventually("the table has them", async () => (await other.getByRole("row").count()) - 1 === some);
	await other.context().close();
	// By its fields: from the first second on up to the last one is all of it.
	const [until] = (await page.getByLabel("to", { exact: true }).inputValue()).split(".");
	await page.getByLabel("from", { exact: true }).fill("2020-01-01T00:00:00");
	await page.getByLabel("to", { exact: true }).fill("2120-01-01T00:00:00");
	await page.getByRole("link", { name: `${all} of ${all} executions` }).waitFor();
	await page.getByLabel("to", { exact: true }).fill(until);
	await page.getByRole("link", { name: new RegExp(`^[1-9]\\d* of ${all} executions$`) }).waitFor();
	await page.getByRole("button", { name: "All", exact: true }).click();
	await page.getByText(/^\d+ executions$/).waitFor();
	assert.ok(!page.url().includes("from="), page.url());
	assert.deepEqual(await accessible(page), []);
	fine(page);
	await page.context().close();
});

test("a policy is shown with its tests, its use, its shadow and what was in force before", async () => {
	place.run("run", "--as", "agent:coder", "--", "true");
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
	const strict = join(place.root, "strict");
	place.ok("policy", "init", strict);
	const policies = join(strict, "policies/agents.cedar");
	const texts = readFileSync(policies, "utf8");
	assert.ok(texts.includes("when { context.in_workspace }"), texts);
	writeFileSync(
		policies,
		texts.replace("when { context.in_workspace }", "when { context.in_workspace && context.risk.score > 99 }"),
	);
	// Its own tests would say so first.
	rmSync(join(strict, "tests"), { recursive: true });
	place.ok("policy", "shadow", "set", strict, "--reason", "to see");
	place.run("run", "--as", "agent:coder", "--", "true");
	await page.getByText(/would close: permitted then, denied with it/).waitFor();
	await page
		.getByRole("row", { name: /permit, .* deny/ })
		.first()
		.waitFor();
	assert.deepEqual(await accessible(page), []);
	await page.getByRole("button", { name: "Drop it" }).click();
	await page.getByRole("dialog").getByLabel("Reason").fill("seen");
	await page.getByRole("dialog").getByRole("button", { name: "Drop" }).click();
	await page.getByText("No bundle is decided in the shadow").waitFor();
	await tab("Compare");
	await page.getByLabel("A bundle's directory").setInputFiles(strict);
	await page
		.getByRole("region", { name: "What differs", exact: true })
		.getByText(/has other conditions/)
		.waitFor();
	await page
		.getByRole("region", { name: "What it would have changed" })
		.getByText(/would close/)
		.waitFor();
	await page
		.getByRole("region", { name: "What differs in policies/agents.cedar" })
		.getByText("- when { context.in_workspace }", { exact: true })
		.first()
		.waitFor();
	assert.deepEqual(await accessible(page), []);
	// One that was in force before, by its digest; and files that are no bundle.
	const digest = JSON.parse(place.ok("policy", "status", "--json")).active.digest;
	await page.getByLabel("A bundle that was in force, by its digest").fill(digest);
	await page.getByRole("button", { name: "Compare", exact: true }).click();
	await page.getByText("No policy differs").waitFor();
	await page
		.getByLabel("A single file")
		.setInputFiles({ name: "x.json", mimeType: "application/json", buffer: Buffer.from("{}") });
	await page.getByText("That file is no bundle").waitFor();
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
	const { page } = await known(browser, place, "user:watch", "--group", "auditors");
	await page.goto(`${place.address}/console/#/records`);
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

test("what was revoked and halted is found, however much came after it", async () => {
	const size = () => JSON.parse(place.ok("node", "status", "--json")).size;
	for (let at = size(); at < 150; at += 1) place.ok("principal", "set", "user:filler", "--group", `g${at}`);
	const page = await signedIn(browser, place);
	await page.getByRole("link", { name: "Principals" }).click();
	await page.getByRole("link", { name: "What was revoked" }).click();
	await heading(page, "Records");
	await page.getByText("None of these").waitFor();
	await page.getByRole("button", { name: /^Look through the \d+ records before$/ }).click();
	await page.getByText(/ended from the console/).waitFor();
	await page.getByText(/by user:op: drill is over/).waitFor();
	const kinds = await page
		.getByRole("row")
		.evaluateAll((rows) => rows.slice(1).map((row) => row.cells[1]?.textContent?.trim()));
	assert.ok(kinds.length >= 3 && kinds.every((kind) => ["revoked", "halted", "resumed"].includes(kind)), `${kinds}`);
	assert.deepEqual(await accessible(page), []);
	fine(page);
	await page.context().close();
});

test("each page says that the node is away, and is there again by itself", async () => {
	// By a key of its own: a session of a link ends with the process.
	const { page } = await known(browser, place, "user:away", "--group", "auditors");
	const port = new URL(place.address).port;
	await place.down();
	await page.getByText("offline", { exact: true }).waitFor();
	const pages = [
		"now",
		"decisions",
		"approvals",
		"lineage",
		"principals",
		"policy",
		"policy/tests",
		"policy/past",
		"health",
	];
	for (const surface of pages) {
		await page.evaluate((hash) => {
			location.hash = hash;
		}, `#/${surface}`);
		await page
			.getByText(/The node does not answer/)
			.first()
			.waitFor()
			.catch((error) => assert.fail(`${surface}: ${error.message}`));
		assert.deepEqual(await accessible(page), [], surface);
	}
	await page.evaluate(() => {
		location.hash = "#/policy";
	});
	await place.up(port);
	await page.getByRole("navigation", { name: "Files of the bundle" }).waitFor();
	await page.getByText("live", { exact: true }).waitFor();
	fine(page);
	await page.context().close();
});
