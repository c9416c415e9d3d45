/**
 * Where executions stand on the field: log order from left to right, a lane each from top to bottom.
 *
 * Log order is already topological: what led to something was decided before it. So there is nothing to
 * search for. A node takes the first lane below its parent's that is free by then; children stay near
 * their parent, and a lane is used again once what held it is over.
 */

import type { Node } from "./api";

export interface Placed {
	node: Node;
	lane: number;
	/** Rank among all nodes, by the index of the decision. */
	rank: number;
	/** Time of the decision, and of the end: null while it is open. */
	from: number;
	to: number | null;
	parent: Placed | null;
	children: Placed[];
}

/** Most lanes; what comes beyond shares the last. */
export const LANES_MAX = 400;

export function placeAll(nodes: Node[]): Placed[] {
	const ordered = nodes.toSorted((a, b) => a.decided.index - b.decided.index);
	const known = new Map<string, Placed>();
	/** The rank up to which each lane is taken. */
	const taken: number[] = [];
	return ordered.map((node, rank) => {
		const parent = (node.parent && known.get(node.parent)) || null;
		const ended = node.ended as { at: { index: number; time: number } } | null;
		const denied = node.status === "denied" || node.status === "deferred";
		const to = denied ? node.decided.time : (ended?.at.time ?? null);
		let lane = parent ? parent.lane + 1 : 0;
		while (lane < LANES_MAX && (taken[lane] ?? -1) > node.decided.index) lane += 1;
		// A gap behind keeps two that share a lane apart.
		taken[lane] = denied ? node.decided.index + 4 : ended ? ended.at.index + 2 : Number.POSITIVE_INFINITY;
		const placed: Placed = { node, lane, rank, from: node.decided.time, to, parent, children: [] };
		parent?.children.push(placed);
		known.set(node.exec, placed);
		return placed;
	});
}

export function ancestors(placed: Placed): Placed[] {
	const found: Placed[] = [];
	for (let at = placed.parent; at; at = at.parent) found.push(at);
	return found;
}

export function descendants(placed: Placed): Placed[] {
	const found: Placed[] = [];
	const open = [...placed.children];
	for (let next = open.pop(); next; next = open.pop()) {
		found.push(next);
		open.push(...next.children);
	}
	return found.sort((a, b) => a.rank - b.rank);
}
