/**
 * Pictures of every page, in light and dark, wide and narrow: `npm run shots`, into console/shots; of some of them alone:
 * `npm run shots -- health lineage`.
 */
import { mkdirSync } from "node:fs";
import { browser as launch, page as newPage, Place, signedIn } from "./support.mjs";

const PAGES = [
	"now",
	"decisions",
	"x",
	"approvals",
	"lineage",
	"records",
	"principals",
	"policy",
	"policy/tests",
	"policy/use",
	"policy/compare",
	"policy/shadow",
	"policy/past",
	"proof",
	"health",
	"you",
];
const asked = process.argv.slice(2);
const wanted = (name) => asked.length === 0 || asked.includes(name);
const out = new URL("../shots/", import.meta.url).pathname;
mkdirSync(out, { recursive: true });

const place = new Place();

/** Whatever is wider than the screen is said: a page scrolls down, and nowhere else. */
async function picture(page, hash, name, colorScheme, width) {
	await page.goto(`${place.address}/console/#/${hash}`);
	await page.getByRole("heading", { level: 1 }).first().waitFor();
	await page.waitForTimeout(name === "health" ? 5600 : 500);
	const file = `${name.replace("/", "-")}-${colorScheme}-${width}.png`;
	await page.screenshot({ path: `${out}${file}`, fullPage: name !== "policy" });
	const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
	if (wider > 0) console.log(`${file}: wider than the screen by ${wider} px`);
}

/** The demo has a node of its own. */
async function demo() {
	const { child, link, address } = await place.demo();
	const first = await newPage(browser, { address });
	await first.goto(link);
	await first.getByRole("button", { name: "An agent looks around", exact: true }).click();
	await first.getByText(/steps verified, in this browser/).waitFor();
	for (const colorScheme of ["light", "dark"]) {
		for (const width of [1440, 390]) {
			await first.emulateMedia({ colorScheme });
			await first.setViewportSize({ width, height: width > 400 ? 900 : 844 });
			await first.screenshot({ path: `${out}demo-${colorScheme}-${width}.png`, fullPage: true });
		}
	}
	child.kill("SIGTERM");
	await child.ended;
}
const browser = await launch();
try {
	place.configure(
		'public = true\n[[oidc]]\nissuer = "https://idp.example"\naudience = ["placet"]\n[oidc.login]\nclient_id = "placet"\nname = "Example"\n',
	);
	await place.up();
	place.ok("principal", "set", "user:lead", "--group", "leads");
	for (const argv of [
		["true"],
		["git", "push"],
		["ls"],
		["sh", "-c", "/run/placet/placet run -- ls; exit 3"],
		["cat", "/etc/shadow"],
		["git", "status"],
	]) {
		place.run("run", "--as", "agent:coder", "--purpose", "pictures", "--", ...argv);
	}
	await place.running(["sh", "-c", "/run/placet/placet run -- sleep 300"]);
	await place.running(["sleep", "300"]);
	place.activate(
		"policies/operators.cedar",
		'@lifetime("12h")',
		'@lifetime("12h")\n@approvals("1 of leads within 10m")',
	);
	place.start("run", "--purpose", "release 1.4", "--", "sh", "-c", "make deploy && echo 'done'");
	const done = JSON.parse(place.ok("executions", "--json"));
	const exec = done.find((one) => one.status === "failed") ?? done[0];
	for (const colorScheme of ["light", "dark"]) {
		for (const width of [1440, 390]) {
			const page = await signedIn(browser, place, {
				colorScheme,
				viewport: { width, height: width > 400 ? 900 : 844 },
			});
			for (const name of PAGES.filter(wanted)) {
				const hash =
					{ x: `x/${exec.exec}`, proof: `proof/${exec.decided.index}`, lineage: `lineage?focus=${exec.exec}` }[name] ??
					name;
				await picture(page, hash, name, colorScheme, width);
			}
			await page.context().close();
			const open = await newPage(browser, place, {
				colorScheme,
				viewport: { width, height: width > 400 ? 900 : 844 },
			});
			for (const name of ["you", "lineage", "health", "proof"].filter((name) => wanted(`public-${name}`)))
				await picture(open, name, `public-${name}`, colorScheme, width);
			await open.context().close();
		}
	}
	if (wanted("demo")) await demo();
	console.log(out);
} finally {
	await browser.close();
	await place.end();
}
