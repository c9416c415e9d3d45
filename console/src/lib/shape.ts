/** The lineage as the public sees it: where each decision stands and what it came from, and nothing else. */

import { get, type Node, query, type Shapes } from "./api";

/** A shape as the field draws nodes: its record stands for its id, and the rest is not known here. */
export function nodeOf({ ended, index, parent, status }: Shapes["items"][number]): Node {
	const at = (record: number) => ({ index: record, time: 0 });
	return {
		action: "",
		answer: {},
		born: 0,
		bundle: null,
		caller: {},
		decided: at(index),
		delegation: [],
		ended: ended === undefined ? null : { at: at(ended) },
		exec: String(index),
		gateway: "",
		intent: "",
		parent: parent === undefined ? null : String(parent),
		policies: [],
		principal: "",
		refused: 0,
		resource: { id: "" },
		root: String(index),
		signals: 0,
		started: null,
		status,
	} as unknown as Node;
}

export async function shapes(cursor: number | null): Promise<{ items: Node[]; next?: number }> {
	const page = await get<Shapes>(query("/v1/lineage/shape", { limit: 500, cursor }));
	const items = page.items.map(nodeOf);
	return page.next === undefined ? { items } : { items, next: page.next };
}
