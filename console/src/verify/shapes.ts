/** Shapes of values, read as strictly as the domain reads them: put together of small ones. */

import { fromBase64, refuse } from "./bytes";
import { count, list, named, set, thirtyTwo } from "./claims";
import { isKey } from "./ed25519";
import { isObject, type Json, members, str } from "./json";

/** Takes a value of its shape, and throws at any other. */
export type Check = (value: Json | undefined, what: string) => void;
type Members = { [name: string]: Check };

const U32_MAX = 2 ** 32 - 1;

/**
 * An object of these members and no others. One whose name ends in `?` may be left out; it is never null, since
 * what is absent is not written.
 */
export const object =
	(shape: Members): Check =>
	(value, what) => {
		const found = members(value, Object.keys(shape), what);
		for (const [name, check] of Object.entries(shape)) {
			const own = name.replace(/\?$/, "");
			if (own === name || Object.hasOwn(found, own)) check(found[own], own);
		}
	};

/** One of these, named by the only member; or one of these words alone. */
export const either =
	(shape: Members, words: string[] = []): Check =>
	(value, what) => {
		if (typeof value === "string" && words.includes(value)) return;
		object(Object.fromEntries(Object.entries(shape).map(([name, check]) => [`${name}?`, check])))(value, what);
		if (!isObject(value) || Object.keys(value).length !== 1) refuse(`${what}: exactly one`);
	};

/** A list that is left out where it is shorter than `least`. */
export const listOf =
	(item: Check, least = 0): Check =>
	(value, what) => {
		const items = list(value, what);
		if (items.length < least) refuse(`${what}: an empty list`);
		for (const one of items) item(one, what);
	};

/** Texts in order, none twice. */
export const setOf =
	(item: Check, least = 0): Check =>
	(value, what) => {
		const items = set(value, what, (one) => str(one, what));
		if (items.length < least) refuse(`${what}: an empty set`);
		for (const one of items) item(one, what);
	};

export const oneOf =
	(...words: string[]): Check =>
	(value, what) => {
		if (!words.includes(str(value, what))) refuse(`${what}: an unknown word`);
	};

const grammar =
	(name: Parameters<typeof named>[1]): Check =>
	(value, what) =>
		void named(value, name, what);

const upTo =
	(max: number): Check =>
	(value, what) => {
		if (count(value, what) > max) refuse(`${what}: too large`);
	};

const encoded =
	(length: number): Check =>
	(value, what) => {
		if (fromBase64(str(value, what))?.length !== length) refuse(`${what}: ${length} bytes in base64`);
	};

export const text: Check = (value, what) => void str(value, what);
export const whole: Check = (value, what) => void count(value, what);
export const u32 = upTo(U32_MAX);
export const u8 = upTo(255);
/** A number that is left out where it is 0. */
export const some: Check = (value, what) => {
	if (count(value, what) === 0) refuse(`${what}: says nothing`);
};
/** A flag that is left out where it is not set. */
export const flag: Check = (value, what) => {
	if (value !== true) refuse(`${what}: says nothing`);
};
export const commitment: Check = (value, what) => void thirtyTwo(value, what);
export const signature = encoded(64);
export const key: Check = (value, what) => {
	const bytes = fromBase64(str(value, what));
	if (!bytes || !isKey(bytes)) refuse(`${what}: no Ed25519 key`);
};
export const keyId: Check = (value, what) => {
	if (!/^[0-9a-f]{16}$/.test(str(value, what))) refuse(`${what}: no key id`);
};
export const spiffe: Check = (value, what) => {
	const found = str(value, what);
	const good = /^spiffe:\/\/[a-z0-9._-]{1,255}(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._-]+)+$/.test(found);
	if (!good || found.length > 2048) refuse(`${what}: no SPIFFE id`);
};
export const action = grammar("action");
export const digest = grammar("digest");
export const domain = grammar("domain");
export const exec = grammar("exec");
export const kind = grammar("kind");
export const place = grammar("place");
export const principal = grammar("principal");
export const secret = grammar("secret");
export const word = grammar("word");
