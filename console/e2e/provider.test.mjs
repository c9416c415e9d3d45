/** Signing in by a real identity provider (npm's `oidc-provider`), in a real browser. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { accessible, fine, heading, browser as launch, page as newPage, Place } from "./support.mjs";

const source = new URL("../../crates/placet/tests/http/provider.mjs", import.meta.url).pathname;
/** Beside the modules, where Node looks for them. */
const script = new URL(`../node_modules/placet-provider-${process.pid}.mjs`, import.meta.url).pathname;

let place;
let browser;
let provider;

const freePort = () =>
	new Promise((resolve) => {
		const server = createServer().listen(0, "127.0.0.1", () => {
			const { port } = server.address();
			server.close(() => resolve(port));
		});
	});

before(async () => {
	place = new Place();
	const port = await freePort();
	place.provider = `http://127.0.0.1:${port}`;
	place.configure(
		`[[oidc]]\nissuer = "${place.provider}"\naudience = ["placet"]\n[oidc.login]\nclient_id = "open"\nname = "Example"\nscopes = ["groups"]\n`,
	);
	await place.up();
	copyFileSync(source, script);
	provider = spawn("node", [script, String(port), "one", `${place.address}/console/signed-in`], {
		stdio: ["ignore", "pipe", "ignore"],
	});
	for await (const line of createInterface({ input: provider.stdout })) if (line.includes("listening")) break;
	place.map(
		`[[identity]]\ndescription = "People."\nprincipal = "user:{sub}"\noidc = { issuer = "${place.provider}", claims = { groups = "platform" } }\n`,
	);
	place.ok("principal", "set", "user:ana", "--group", "operators", "--mapped");
	browser = await launch();
});
after(async () => {
	await browser?.close();
	provider?.kill("SIGKILL");
	rmSync(script, { force: true });
	await place?.end();
});

const clean = (page) => assert.ok(!/code=|state=|signed-(in|out)/.test(page.url()), page.url());

/** Goes to the provider and says this name there. */
async function signIn(page, name) {
	await page.getByRole("button", { name: "Sign in with Example" }).click();
	await page.getByLabel("Name", { exact: true }).fill(name);
	await page.getByRole("button", { name: "Go on" }).click();
}

test("whom the rules name is signed in where they wanted to be, and signs out", async () => {
	const page = await newPage(browser, place);
	await page.goto(`${place.address}/console/#/decisions`);
	await heading(page, "Sign in");
	for (const colorScheme of ["light", "dark"]) {
		await page.emulateMedia({ colorScheme });
		assert.deepEqual(await accessible(page), [], colorScheme);
	}
	await signIn(page, "ana");
	await heading(page, "Decisions");
	clean(page);
	await page.getByText("user:ana").waitFor();
	await page.getByText("(operator)").waitFor();
	await page.reload();
	await heading(page, "Decisions");
	await page.goto(`${place.address}/console/#/you`);
	await page.getByText("an identity provider").waitFor();
	// The node set no cookie, and the browser keeps no token: those there are the provider's own.
	const cookies = await page.context().cookies();
	assert.ok(
		cookies.every(({ name }) => name.startsWith("_session") || name.startsWith("_interaction")),
		JSON.stringify(cookies),
	);
	const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
	assert.equal(kept, "[{},{}]");
	// Out here, and then where the provider asks: it, too, knows nobody any more.
	await page.getByRole("button", { name: "Sign out" }).click();
	await page.getByRole("button", { name: "Yes, sign me out" }).click();
	await page.getByText("You are signed out").waitFor();
	clean(page);
	assert.deepEqual(await accessible(page), []);
	await page.goto(`${place.address}/console/#/now`);
	await page.reload();
	await heading(page, "Sign in");
	await page.getByRole("button", { name: "Sign in with Example" }).click();
	await page.getByLabel("Name", { exact: true }).waitFor();
	fine(page);
	await page.context().close();
});

test("who is nobody here is told so, and so is whoever comes back with something else", async () => {
	const page = await newPage(browser, place);
	await page.goto(`${place.address}/console/`);
	await heading(page, "Sign in");
	await signIn(page, "max");
	await page.getByText("You are nobody here yet").waitFor();
	await page.getByText(/no rule of the bundle in force makes this subject/).waitFor();
	await heading(page, "Sign in");
	clean(page);
	assert.deepEqual(await accessible(page), []);
	await page.goto(`${place.address}/console/signed-in?code=made-up&state=made-up&iss=${place.provider}`);
	await page.getByText("That did not sign you in").waitFor();
	await page.getByText(/this browser did not begin that sign-in/).waitFor();
	clean(page);
	await page.goto(`${place.address}/console/signed-in?error=access_denied&error_description=%3Cb%3Eno%3C/b%3E`);
	await page.getByText("<b>no</b>").waitFor();
	clean(page);
	fine(page);
	await page.context().close();
});
