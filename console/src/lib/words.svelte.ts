/** The time that passes, and the texts of `said.ts`. */

import { nodeNow } from "./api";

/** The node's time, told anew every second. */
export const clock: { now: number } = $state({ now: nodeNow() });
setInterval(() => {
	clock.now = nodeNow();
}, 1000);

export * from "./said";
