/** Each role, in a browser of its own: what it sees, and what it cannot do. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
	accessible,
	eventually,
	fine,
	heading,
	known,
	browser as launch,
	page as newPage,
	Place,
	signedIn,
	at as to,
} from "./support.mjs";

let place;
let browser;

before(async () => {
	place = new Place();
	place.configure("public = true\n");
	await place.up();
	browser = await launch();
	place.run("run", "--as", "agent:coder", "--purpose", "private-purpose", "--", "echo", "private-argument");
	place.run("run", "--as", "agent:coder", "--", "git", "push");
});
after(async () => {
	await browser?.close();
	await place?.end();
});

const at = (page, surface) => to(page, place, surface);
const surfaces = (page) => page.getByRole("navigation", { name: "Surfaces" }).getByRole("link").allInnerTexts();

/** What the node answers this browser's own key, whatever the page offers. */
const answer = (page, path, body) =>
	page.evaluate(
		async ([path, body]) => {
			const keys = await new Promise((resolve) => {
				const opening = indexedDB.open("placet-console", 1);
				opening.onsuccess = () => {
					const asked = opening.result.transaction("keys").objectStore("keys").get("own");
					asked.onsuccess = () => resolve(asked.result);
				};
			});
			const url = (bytes) =>
				btoa(String.fromCharCode(...new Uint8Array(bytes)))
					.replaceAll("+", "-")
					.replaceAll("/", "_")
					.replaceAll("=", "");
			const part = (value) => url(new TextEncoder().encode(JSON.stringify(value)));
			const x = url(await crypto.subtle.exportKey("raw", keys.publicKey));
			const head = part({ typ: "dpop+jwt", alg: "EdDSA", jwk: { crv: "Ed25519", kty: "OKP", x } });
			const htu = `${location.origin}${path}`;
			const claims = part({ jti: crypto.randomUUID(), htm: "POST", htu, iat: Math.floor(Date.now() / 1000) });
			const signature = await crypto.subtle.sign(
				"Ed25519",
				keys.privateKey,
				new TextEncoder().encode(`${head}.${claims}`),
			);
			const headers = { "content-type": "application/json", dpop: `${head}.${claims}.${url(signature)}` };
			const reply = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
			return reply.status;
		},
		[path, body],
	);

test("an operator sees everything, and may end, halt and put in force", async () => {
	const page = await signedIn(browser, place);
	await page.getByText("(operator)").waitFor();
	await page.getByRole("button", { name: "Halt the domain" }).waitFor();
	await at(page, "decisions");
	await page.getByRole("row", { name: /policy_forbids/ }).waitFor();
	for (const path of ["/v1/halt", "/v1/resume"]) assert.equal(await answer(page, path, { reason: "drill" }), 201, path);
	fine(page);
	await page.context().close();
});

test("an approver sees what waits for its word, and nothing of others; it ends nothing", async () => {
	place.activate(
		"policies/operators.cedar",
		'@lifetime("12h")',
		'@lifetime("12h")\n@approvals("1 of leads within 10m")',
	);
	const { page } = await known(browser, place, "user:lead", "--group", "leads");
	await page.getByText("(approver)").waitFor();
	assert.equal(await page.getByRole("button", { name: "Halt the domain" }).count(), 0);
	const asked = place.start("run", "--", "echo", "waits");
	await at(page, "approvals");
	await page.locator("pre", { hasText: "echo waits" }).waitFor();
	await page.getByRole("button", { name: "Approve", exact: true }).waitFor();
	await at(page, "decisions");
	await page.getByText("No decision fits").waitFor();
	await at(page, "policy/compare");
	await page.getByText("For operators and auditors").waitFor();
	for (const [path, body] of [
		["/v1/halt", { reason: "x" }],
		["/v1/revocations", { reason: "x", selector: { principal: "agent:coder" } }],
		["/v1/policy/diff", { archive: "{}" }],
	])
		assert.equal(await answer(page, path, body), 403, path);
	await at(page, "approvals");
	await page.getByRole("button", { name: "Reject", exact: true }).click();
	await page.getByRole("dialog").getByLabel("Reason").fill("no");
	await page.getByRole("dialog").getByRole("button", { name: "Sign and reject" }).click();
	assert.equal((await asked.ended).code, 120, asked.errors);
	place.activate("policies/operators.cedar", '@approvals("1 of leads within 10m")\n', "");
	fine(page);
	await page.context().close();
});

test("an auditor sees everything and ends nothing; without the group, only what is theirs", async () => {
	const { page, key } = await known(browser, place, "user:audit", "--group", "auditors");
	await page.getByText("(auditor)").waitFor();
	assert.equal(await page.getByRole("button", { name: "Halt the domain" }).count(), 0);
	await at(page, "decisions");
	await page.getByRole("row", { name: /policy_forbids/ }).waitFor();
	await at(page, "policy/compare");
	await page.getByLabel("A bundle's directory").waitFor({ state: "attached" });
	for (const path of ["/v1/halt", "/v1/resume"]) assert.equal(await answer(page, path, { reason: "x" }), 403, path);

	place.ok("principal", "set", "user:audit", "--key", key);
	await at(page, "decisions");
	await page.reload();
	await page.getByText("(member)").waitFor();
	await page.getByText("No decision fits").waitFor();
	fine(page);
	await page.context().close();
});

test("the public sees proofs, a summary of health and the shape of the lineage, and no private word", async () => {
	const page = await newPage(browser, place);
	const bodies = [];
	page.on("response", async (response) => {
		const path = new URL(response.url()).pathname;
		if (path.startsWith("/v1/")) bodies.push([path, await response.text().catch(() => "")]);
	});
	await page.goto(`${place.address}/console/`);
	await heading(page, "Sign in");
	assert.deepEqual(await surfaces(page), ["Placet", "Lineage", "Proof", "Health"]);
	for (const surface of ["now", "decisions", "approvals", "records", "principals", "policy"]) {
		await at(page, surface);
		await heading(page, "Sign in");
	}
	await at(page, "health");
	await heading(page, "Health");
	await page.getByText("ready", { exact: true }).waitFor();
	await page.getByText("Records in the log").waitFor();
	await page.getByText("sound", { exact: true }).first().waitFor();
	assert.equal(await page.getByRole("button", { name: "Check now" }).count(), 0);
	assert.deepEqual(await accessible(page), []);
	await at(page, "lineage");
	await page.getByText(/^\d+ executions$/).waitFor();
	await page.getByRole("application").press("End");
	await page.getByRole("button", { name: "Verify here" }).click();
	await page.getByRole("status").getByText("Verified", { exact: true }).waitFor();
	await page.getByRole("button", { name: "Table" }).click();
	await page
		.getByRole("row", { name: /denied/ })
		.first()
		.waitFor();
	const shown = await page.locator("main").innerText();
	for (const word of ["agent:coder", "git", "echo", "policy_forbids", "private-"])
		assert.ok(!shown.includes(word), word);
	assert.deepEqual(await accessible(page), []);
	await page
		.getByRole("row", { name: /denied/ })
		.getByRole("link")
		.first()
		.click();
	await page.getByText(/^Verified, but for/).waitFor();
	await eventually("every answer was looked at", () => bodies.some(([path]) => path.startsWith("/v1/proofs/")));
	for (const [path, body] of bodies) {
		for (const word of ["private-argument", "private-purpose"]) assert.ok(!body.includes(word), `${path}: ${body}`);
		// A public record names who it is about; nothing else does.
		if (!path.startsWith("/v1/proofs/")) assert.ok(!/agent:|user:/.test(body), `${path}: ${body}`);
	}
	fine(page);
	await page.context().close();
});
