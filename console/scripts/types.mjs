/** Writes src/api.gen.ts: the types of the public API, from its published document. */
import { readFileSync, writeFileSync } from "node:fs";
import openapi, { astToString } from "openapi-typescript";

const document = JSON.parse(readFileSync(new URL("../../spec/openapi.json", import.meta.url), "utf8"));
const code = astToString(await openapi(document));
writeFileSync(
	new URL("../src/api.gen.ts", import.meta.url),
	`/* Made of spec/openapi.json by scripts/types.mjs. */\n${code}`,
);
