/**
 * The strip below the field: all decisions over time, with what is in view marked. Who sees no times has the
 * records' numbers in their place.
 */

import { type Palette, type Scene, TONES, type View } from "./field";
import type { Placed } from "./lanes";
import { exact } from "./said";

/** What the strip is measured in, by the rank of each node: it only goes up. */
export interface Axis {
	at: Float64Array;
	timed: boolean;
}

export const BRUSH = 50;
/** The band of the labels. */
const LABELS = 15;
/** Pixels that a label takes. */
const LABEL = 84;

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [1, 2, 5, 10, 15, 30]
	.flatMap((many) => [many * SECOND, many * MINUTE])
	.concat([1, 2, 3, 6, 12].map((many) => many * HOUR))
	.concat([1, 2, 7, 14, 30, 90, 365].map((many) => many * DAY))
	.sort((a, b) => a - b);

export function axisOf(placed: Placed[], timed: boolean): Axis {
	return { at: Float64Array.from(placed, (one) => (timed ? one.from : one.node.decided.index)), timed };
}

/** The first and the last value; never none between them. */
export function span({ at, timed }: Axis): [number, number] {
	const first = at[0] ?? 0;
	return [first, Math.max(at.at(-1) ?? first, first + (timed ? SECOND : 1))];
}

export function valueAt(axis: Axis, px: number, width: number): number {
	const [from, to] = span(axis);
	return from + (Math.min(Math.max(px, 0), width) / Math.max(1, width)) * (to - from);
}

/** The first rank that is not before this value; the number of ranks, if none is. */
export function rankAt({ at }: Axis, value: number): number {
	let [low, high] = [0, at.length];
	while (low < high) {
		const middle = (low + high) >> 1;
		if ((at[middle] ?? 0) < value) low = middle + 1;
		else high = middle;
	}
	return low;
}

/** Round values within the span, no closer than labels can stand. */
export function ticks(axis: Axis, width: number): { value: number; text: string }[] {
	const [from, to] = span(axis);
	const least = (to - from) / Math.max(1, Math.floor(width / LABEL));
	const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
	const plain = [1, 2, 5, 10].map((many) => many * power).find((step) => step >= least) ?? 10 * power;
	const step = axis.timed ? (STEPS.find((step) => step >= least) ?? Math.ceil(least / DAY) * DAY) : plain;
	const found: { value: number; text: string }[] = [];
	for (let value = Math.ceil(from / step) * step; value <= to; value += step) {
		if (!axis.timed) found.push({ value, text: `record ${value}` });
		else if (step >= DAY) found.push({ value, text: exact(value).slice(0, 10) });
		else {
			const clock = exact(value).slice(11, step < MINUTE ? 19 : 16);
			// The day stands where it begins, and at the first.
			found.push({
				value,
				text: found.length === 0 || value % DAY === 0 ? `${exact(value).slice(5, 10)} ${clock}` : clock,
			});
		}
	}
	return found;
}

export function drawBrush(
	context: CanvasRenderingContext2D,
	width: number,
	height: number,
	scene: Scene,
	view: View,
	palette: Palette,
): void {
	const { axis, picked } = scene;
	const top = height - BRUSH;
	const base = height - LABELS;
	const [from, to] = span(axis);
	const x = (value: number) => ((value - from) / (to - from)) * width;
	context.fillStyle = palette["sunk"] ?? "gray";
	context.fillRect(0, top, width, BRUSH);
	const columns = Math.max(1, Math.floor(width / 3));
	const counts = new Uint32Array(columns);
	const bad = new Uint32Array(columns);
	for (const one of scene.placed) {
		const column = Math.min(columns - 1, Math.floor((x(axis.at[one.rank] ?? 0) / width) * columns));
		counts[column] = (counts[column] ?? 0) + 1;
		if (TONES[one.node.status] === "bad") bad[column] = (bad[column] ?? 0) + 1;
	}
	const most = Math.max(1, ...counts);
	const tall = base - top - 6;
	for (const [values, tone] of [
		[counts, "line-strong"],
		[bad, "bad"],
	] as const) {
		context.fillStyle = palette[tone] ?? "gray";
		values.forEach((value, column) => {
			if (value > 0)
				context.fillRect(
					(column * width) / columns,
					base - 1 - (value / most) * tall,
					Math.max(1, width / columns - 1),
					(value / most) * tall,
				);
		});
	}
	labels(context, axis, width, base, x, palette);
	const last = axis.at.length - 1;
	const edge = (rank: number) => axis.at[Math.min(last, Math.max(0, rank))] ?? from;
	const inView = [x(edge(Math.floor(view.left))), x(edge(Math.ceil(view.left + width * view.scale) - 1))] as const;
	const [left, right] = picked ?? inView;
	context.strokeStyle = palette["accent"] ?? "green";
	context.lineWidth = 1.5;
	context.strokeRect(
		Math.max(0, left) + 1,
		top + 1,
		Math.max(4, Math.min(width, right) - Math.max(0, left)) - 2,
		base - top - 2,
	);
}

function labels(
	context: CanvasRenderingContext2D,
	axis: Axis,
	width: number,
	base: number,
	x: (value: number) => number,
	palette: Palette,
): void {
	context.font = "10.5px system-ui, sans-serif";
	context.textBaseline = "middle";
	context.fillStyle = palette["quiet"] ?? "gray";
	for (const { value, text } of ticks(axis, width)) {
		const at = x(value);
		context.fillRect(at, base, 1, 3);
		const wide = context.measureText(text).width;
		context.fillText(text, Math.min(Math.max(2, at - wide / 2), width - wide - 2), base + LABELS / 2 + 1.5);
	}
}
