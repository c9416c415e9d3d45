/** The demo's page in a real browser: scenes on a real node, and what a visitor tries to break. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { after, before, test } from "node:test";
import { accessible, browser as launch, page as newPage, Place } from "./support.mjs";

let place;
let browser;
let demo;
let page;

before(async () => {
	place = new Place();
	demo = await place.demo();
	browser = await launch();
	page = await newPage(browser, demo);
	page.setDefaultTimeout(60_000);
	await page.goto(demo.link);
	await page.getByRole("heading", { name: "Demo", exact: true }).waitFor();
});
after(async () => {
	await browser?.close();
	await place?.end();
});

const play = (title) => page.getByRole("button", { name: title, exact: true }).click();
const step = (name) => page.locator(".steps li", { hasText: name });
const fine = () => assert.deepEqual(page.faults, []);

test("a command is verified, authorized, executed and proven before the visitor's eyes", async () => {
	await play("An agent looks around");
	await step("Prove")
		.getByText(/steps verified, in this browser/)
		.waitFor();
	await page.locator(".steps li.holds").nth(3).waitFor();
	await page.getByText("## main").waitFor();
	for (const [what, failed] of [
		["a character of the record", "record in the log"],
		["a character of the artifact", "artifact"],
		["the arguments", "parameters"],
		["the proof's path", "record in the log"],
		["the first record", "genesis in the log"],
	]) {
		await page.getByRole("button", { name: what, exact: true }).click();
		await page.getByText(`Failed at \u201c${failed}\u201d`).waitFor();
	}
	fine();
});

test("the demo is readable in light and dark, wide and narrow, and by keyboard", async () => {
	for (const colorScheme of ["light", "dark"]) {
		for (const width of [1440, 390]) {
			await page.emulateMedia({ colorScheme });
			await page.setViewportSize({ width, height: 900 });
			assert.deepEqual(await accessible(page), [], `${colorScheme}, ${width}`);
			const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
			assert.ok(wider <= 0, `wider than the screen by ${wider} px at ${width}`);
		}
	}
	await page.emulateMedia({ colorScheme: "light" });
	await page.setViewportSize({ width: 1440, height: 900 });
	await page.locator("#main").focus();
	await page.keyboard.press("Tab");
	assert.equal(await page.evaluate(() => document.activeElement?.tagName), "BUTTON");
	fine();
});

test("what is forbidden, unknown or out of scope is stopped at its step", async () => {
	await play("The agent pushes");
	await step("Authorize")
		.getByText(/policy_forbids/)
		.waitFor();
	await play("Somebody who is nobody here");
	await step("Verify")
		.getByText(/identity_unverified/)
		.waitFor();
	await play("A permitted shell reads a private key");
	await page.getByText(/No such file or directory/).waitFor();
	await step("Execute").getByText("failed").waitFor();
	await play("Authority ends by itself");
	await step("Execute").getByText("ended with its tree: expired").waitFor();
	fine();
});

test("a tree that goes on is revoked while the page shows it", async () => {
	await play("A command goes on, and is ended");
	await step("Execute").getByText("it runs").waitFor();
	await page.getByRole("button", { name: "Revoke it" }).click();
	await page.getByRole("dialog").getByRole("button", { name: "Revoke", exact: true }).click();
	await step("Execute").getByText("ended with its tree: revoked").waitFor();
	fine();
});

test("a forged artifact, one that is used twice, other arguments and a flipped byte are all found", async () => {
	for (const [title, code] of [
		["An artifact, altered: a wider scope", "invalid_signature"],
		["An artifact, a second time", "replayed"],
		["An artifact, for the same call with other arguments", "intent_mismatch"],
		["An artifact, signed with the stolen key, never decided", "receipt_invalid"],
	]) {
		await play(title);
		await page
			.getByText(new RegExp(`^Refused: ${code}`))
			.waitFor()
			.catch(async (error) => assert.fail(`${title}: ${await page.locator("main").innerText()} ${error.message}`));
	}
	await play("One byte of the log, flipped");
	await page.getByText(/^Found: record \d+$/).waitFor();
	fine();
});

test("the demo goes with everything that it made, and runs nothing that is not one of its scenes", async () => {
	const refused = await page.evaluate(
		async () =>
			(await fetch("/v1/demo/work", { method: "POST", body: "{}", headers: { "content-type": "application/json" } }))
				.status,
	);
	assert.equal(refused, 401);
	demo.child.kill("SIGTERM");
	assert.equal(await demo.child.ended, 0, demo.child.errors);
	assert.deepEqual(
		readdirSync(tmpdir()).filter((name) => name.startsWith("placet-demo-")),
		[],
	);
});
