/**
 * What the console costs, measured in a real browser: `npm run figures`. Drawing is by software.
 *
 * The node and the page are real. Nodes of the field and the events of a busy day are made here: what is
 * measured is what the page does with them.
 */
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { browser as launch, Place, signedIn } from "./support.mjs";

const LIMITS = { script_kib: 120, first_view_ms: 1000, frame_ms: 33, growth_mib: 8, day_mib: 48 };

/** Executions as the interface lists them: trees of depth up to five, of every status. */
function executions(count) {
	const statuses = ["completed", "failed", "denied", "terminated", "running"];
	const id = (at) => `exec_${at.toString(16).padStart(32, "0")}`;
	return Array.from({ length: count }, (_, at) => {
		const index = at * 3;
		const parent = at % 6 === 0 ? null : id(at - 1);
		const place = (by) => ({ index: index + by, time: 1_800_000_000_000 + index * 40 + by });
		const status = statuses[(at * 7) % statuses.length];
		return {
			exec: id(at),
			parent,
			status,
			principal: `agent:${at % 9}`,
			action: "process:run",
			resource: { kind: "Program", id: `/usr/bin/tool${at % 40}` },
			delegation: [],
			policies: ["agents-tools"],
			decided: place(0),
			started: status === "denied" ? null : place(1),
			ended: status === "denied" || status === "running" ? null : { at: place(9), outcome: status },
			answer: {},
			signals: 0,
			refused: 0,
		};
	});
}

async function firstView(page) {
	const times = [];
	for (let round = 0; round < 5; round += 1) {
		await page.reload({ waitUntil: "commit" });
		await page.locator("table, .empty").first().waitFor();
		times.push(await page.evaluate(() => performance.now()));
	}
	return times.sort((a, b) => a - b)[2];
}

/** The longest of most frames while the field is dragged: what 95 in 100 frames stay within. */
async function frames(page, address, count) {
	const all = executions(count);
	await page.route("**/v1/executions?*", (route) => {
		const cursor = Number(new URL(route.request().url()).searchParams.get("cursor") ?? 0);
		const next = cursor + 500 < all.length ? cursor + 500 : undefined;
		return route.fulfill({ json: { items: all.slice(cursor, cursor + 500), ...(next ? { next } : {}) } });
	});
	await page.goto(`${address}/console/#/lineage`);
	await page.getByText(`${count.toLocaleString("en-US")} executions`).waitFor();
	const found = await page.evaluate(async () => {
		const canvas = document.querySelector("canvas");
		const send = (type, x) =>
			canvas.dispatchEvent(
				new PointerEvent(type, {
					clientX: x,
					clientY: canvas.getBoundingClientRect().top + 120,
					bubbles: true,
					pointerId: 1,
				}),
			);
		canvas.setPointerCapture = () => {};
		for (let step = 0; step < 3; step += 1)
			canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -200, ctrlKey: true, cancelable: true }));
		const next = () => new Promise((resolve) => requestAnimationFrame(resolve));
		send("pointerdown", 400);
		const times = [];
		let last = await next();
		for (let at = 0; at < 120; at += 1) {
			send("pointermove", 400 - (at % 60) * 5);
			const now = await next();
			times.push(now - last);
			last = now;
		}
		send("pointerup", 400);
		return times.sort((a, b) => a - b);
	});
	await page.unroute("**/v1/executions?*");
	return found[Math.floor(found.length * 0.95)];
}

/** The page with a stream of events that is made in it: `globalThis.events(count)` sends that many. */
async function streaming(page, address) {
	await page.addInitScript(() => {
		const real = globalThis.fetch;
		let index = 1_000_000;
		globalThis.fetch = (input, init) => {
			if (!String(input).includes("/v1/events")) return real(input, init);
			const text = new TextEncoder();
			const body = new ReadableStream({
				start(stream) {
					globalThis.events = (count) => {
						let out = "";
						for (let at = 0; at < count; at += 1) {
							index += 1;
							const record = {
								index,
								kind: "ended",
								time: Date.now(),
								exec: `exec_${index.toString(16).padStart(32, "0")}`,
								record: { outcome: "completed", filler: "x".repeat(700) },
							};
							out += `id: ${index}\nevent: ended\ndata: ${JSON.stringify(record)}\n\n`;
						}
						stream.enqueue(text.encode(out));
					};
				},
			});
			return Promise.resolve(new Response(body, { headers: { "content-type": "text/event-stream" } }));
		};
	});
	await page.goto(`${address}/console/#/records`);
	await page.reload();
	await page.getByText("live", { exact: true }).waitFor();
	const debug = await page.context().newCDPSession(page);
	return async () => {
		await debug.send("HeapProfiler.collectGarbage");
		const { usedSize } = await debug.send("Runtime.getHeapUsage");
		return usedSize / 2 ** 20;
	};
}

/** Sends so many events a second, for so long. */
const send = (page, perSecond, secs) =>
	page.evaluate(
		async ([perSecond, secs]) => {
			for (let at = 0; at < secs * 10; at += 1) {
				globalThis.events(perSecond / 10);
				await new Promise((resolve) => setTimeout(resolve, 100));
			}
		},
		[perSecond, secs],
	);

export async function measure({ secs = 30, nodes = 5000 } = {}) {
	const script = gzipSync(readFileSync(new URL("../dist/app.js", import.meta.url))).length / 1024;
	const place = new Place();
	const browser = await launch();
	try {
		await place.up();
		place.run("run", "--as", "agent:coder", "--", "true");
		const page = await signedIn(browser, place);
		const first = await firstView(page);
		const frame = await frames(page, place.address, nodes);
		const heap = await streaming(page, place.address);
		await send(page, 500, 5);
		const before = await heap();
		await send(page, 500, secs);
		const after = await heap();
		// As many as one each second in a day, as fast as they are taken.
		for (let at = 0; at < 86_400 / 5400; at += 1) {
			await page.evaluate(() => globalThis.events(5400));
			await page.waitForTimeout(450);
		}
		const day = await heap();
		return { script_kib: script, first_view_ms: first, frame_ms: frame, growth_mib: after - before, day_mib: day };
	} finally {
		await browser.close();
		await place.end();
	}
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
	const found = await measure();
	let bad = false;
	for (const [name, value] of Object.entries(found)) {
		const fits = value <= LIMITS[name];
		bad ||= !fits;
		console.log(
			`${name.padEnd(14)} ${value.toFixed(1).padStart(8)}  at most ${LIMITS[name]}${fits ? "" : "  TOO MUCH"}`,
		);
	}
	process.exit(bad ? 1 : 0);
}
