/** The figures of the console, with room for a machine that has other things to do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { measure } from "./figures.mjs";

test("the console stays small and quick, whatever comes", async () => {
	const found = await measure({ secs: 3 });
	const most = { script_kib: 120, first_view_ms: 8000, frame_ms: 250, growth_mib: 8, day_mib: 48 };
	for (const [name, value] of Object.entries(found)) assert.ok(value <= most[name], `${name}: ${value}`);
});
