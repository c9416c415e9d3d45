/** The field of the lineage on a canvas: what is in view is drawn, and nothing else. */

import { type Axis, BRUSH, drawBrush } from "./brush";
import type { Placed } from "./lanes";

export interface View {
	/** The rank at the left edge, and ranks per pixel. */
	left: number;
	scale: number;
	/** The lane at the top edge. */
	top: number;
}
export interface Scene {
	placed: Placed[];
	/** Ranks at which each ends; those that are open reach the right edge. */
	ends: Float64Array;
	/** What is not faded; null: everything. */
	lit: Set<string> | null;
	focus: Placed | null;
	kin: Set<string>;
	axis: Axis;
	/** The part of the strip that is being picked, in pixels. */
	picked: [number, number] | null;
}
export type Palette = { [tone: string]: string };

export const LANE = 20;
const BAR = 12;

export const TONES: { [status: string]: string } = {
	running: "busy",
	authorized: "busy",
	completed: "good",
	failed: "bad",
	terminated: "bad",
	denied: "bad",
	deferred: "warn",
	lapsed: "quiet",
	unseen: "quiet",
};

/** The rank at which each is over: that of the first node which was decided after its end. */
export function endRanks(placed: Placed[]): Float64Array {
	const decided = placed.map((one) => one.node.decided.index);
	return Float64Array.from(placed, (one) => {
		if (one.to === null) return placed.length;
		const ended = (one.node.ended as { at: { index: number } } | null)?.at.index ?? one.node.decided.index;
		let [low, high] = [0, decided.length];
		while (low < high) {
			const middle = (low + high) >> 1;
			if ((decided[middle] ?? 0) < ended) low = middle + 1;
			else high = middle;
		}
		return Math.max(low, one.rank + 0.7);
	});
}

export function draw(
	context: CanvasRenderingContext2D,
	width: number,
	height: number,
	scene: Scene,
	view: View,
	palette: Palette,
): void {
	context.fillStyle = palette["paper"] ?? "white";
	context.fillRect(0, 0, width, height);
	const lanes = height - BRUSH;
	const x = (rank: number) => (rank - view.left) / view.scale;
	const y = (lane: number) => (lane - view.top) * LANE + LANE / 2;
	context.lineWidth = 1;
	const faded: Placed[] = [];
	const right = view.left + width * view.scale;
	const bottom = view.top + lanes / LANE + 1;
	context.strokeStyle = palette["line-strong"] ?? "gray";
	context.beginPath();
	for (const one of scene.placed) {
		if (one.rank > right) break;
		const { parent } = one;
		if (
			!parent ||
			one.rank < view.left ||
			(one.lane > bottom && parent.lane > bottom) ||
			(one.lane < view.top && parent.lane < view.top)
		)
			continue;
		const at = x(one.rank);
		context.moveTo(at, y(parent.lane));
		context.lineTo(at, y(one.lane));
	}
	context.stroke();
	// One path for each colour: software rendering pays by the call.
	const paths = new Map<string, Path2D>();
	const bar = (one: Placed, tone: string) => {
		let path = paths.get(tone);
		if (!path) {
			path = new Path2D();
			paths.set(tone, path);
		}
		const from = Math.max(-2, x(one.rank));
		const to = Math.min(width + 2, x(scene.ends[one.rank] ?? one.rank + 1));
		path.rect(from, y(one.lane) - BAR / 2, Math.max(3, to - from - 1), BAR);
	};
	for (const one of scene.placed) {
		if (one.rank > right) break;
		if ((scene.ends[one.rank] ?? 0) < view.left || one.lane < view.top - 1 || one.lane > bottom) continue;
		if (scene.lit && !scene.lit.has(one.node.exec)) faded.push(one);
		else bar(one, TONES[one.node.status] ?? "quiet");
	}
	for (const one of faded) bar(one, "line");
	for (const [tone, path] of paths) {
		context.fillStyle = palette[tone] ?? "gray";
		context.fill(path);
	}
	names(context, scene, view, width, bottom, x, y, palette);
	if (scene.focus) ring(context, scene.focus, scene, x, y, palette["ink"] ?? "black", 2);
	for (const one of scene.placed)
		if (scene.kin.has(one.node.exec)) ring(context, one, scene, x, y, palette["accent"] ?? "green", 1.5);
	drawBrush(context, width, height, scene, view, palette);
}

function names(
	context: CanvasRenderingContext2D,
	scene: Scene,
	view: View,
	width: number,
	bottom: number,
	x: (rank: number) => number,
	y: (lane: number) => number,
	palette: Palette,
): void {
	if (view.scale > 0.05) return;
	context.font = "11px system-ui, sans-serif";
	context.textBaseline = "middle";
	context.fillStyle = palette["paper"] ?? "white";
	for (const one of scene.placed) {
		const [from, to] = [Math.max(0, x(one.rank)), Math.min(width, x(scene.ends[one.rank] ?? 0))];
		if (to - from < 46 || one.lane < view.top - 1 || one.lane > bottom || (scene.lit && !scene.lit.has(one.node.exec)))
			continue;
		const name = String(one.node.resource["id"]).split("/").at(-1) ?? "";
		context.fillText(name.slice(0, Math.floor((to - from - 8) / 6.2)), from + 4, y(one.lane) + 0.5);
	}
}

function ring(
	context: CanvasRenderingContext2D,
	one: Placed,
	scene: Scene,
	x: (rank: number) => number,
	y: (lane: number) => number,
	colour: string,
	lineWidth: number,
): void {
	context.strokeStyle = colour;
	context.lineWidth = lineWidth;
	const from = x(one.rank);
	const to = x(scene.ends[one.rank] ?? one.rank + 1);
	context.strokeRect(from - 2, y(one.lane) - BAR / 2 - 2, Math.max(3, to - from - 1) + 4, BAR + 4);
}

/** What is under a point of the field. */
export function hit(scene: Scene, view: View, px: number, py: number): Placed | null {
	const rank = view.left + px * view.scale;
	const lane = Math.floor(py / LANE + view.top);
	const slack = 3 * view.scale;
	let found: Placed | null = null;
	for (const one of scene.placed) {
		if (one.rank > rank + slack) break;
		if (one.lane === lane && (scene.ends[one.rank] ?? 0) >= rank - slack) found = one;
	}
	return found;
}
