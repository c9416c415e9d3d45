/** Bytes and their texts. Every decoder takes one spelling and refuses all others. */

import { sha256 as hash } from "@noble/hashes/sha2.js";

/** Something does not hold. The message says what, for people. */
export class Refused extends Error {}

export function refuse(why: string): never {
	throw new Refused(why);
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Strict UTF-8; a byte order mark is a character like others. */
export function text(bytes: Uint8Array): string {
	try {
		return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
	} catch {
		return refuse("the text is not UTF-8");
	}
}

export function concat(...parts: Uint8Array[]): Uint8Array {
	const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
	let at = 0;
	for (const part of parts) {
		all.set(part, at);
		at += part.length;
	}
	return all;
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
	return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

export const sha256 = (...parts: Uint8Array[]): Uint8Array => hash(concat(...parts));

export function hex(bytes: Uint8Array): string {
	return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function fromHex(digits: string): Uint8Array | null {
	if (!/^([0-9a-f]{2})*$/.test(digits)) return null;
	return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** `sha256:` and 64 lower-case hex digits. */
export const digest = (bytes: Uint8Array): string => `sha256:${hex(sha256(bytes))}`;

function decode(base64: string, back: (bytes: Uint8Array) => string): Uint8Array | null {
	let binary: string;
	try {
		binary = atob(base64);
	} catch {
		return null;
	}
	const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
	// Written again and compared: that settles padding, spaces and unused bits.
	return back(bytes) === base64 ? bytes : null;
}

export function toBase64(bytes: Uint8Array): string {
	let binary = "";
	for (const byte of bytes) binary += String.fromCharCode(byte);
	return btoa(binary);
}

/** RFC 4648, section 4: with padding, unused bits zero. */
export const fromBase64 = (base64: string): Uint8Array | null => decode(base64, toBase64);

export function toBase64Url(bytes: Uint8Array): string {
	return toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** RFC 4648, section 5: without padding, unused bits zero. */
export function fromBase64Url(base64: string): Uint8Array | null {
	if (!/^[A-Za-z0-9_-]*$/.test(base64)) return null;
	const standard = base64.replaceAll("-", "+").replaceAll("_", "/");
	const padded = standard + "=".repeat((4 - (standard.length % 4)) % 4);
	return fromBase64(padded);
}

/** A decimal without sign or leading zeroes, at most `max`. */
export function decimal(digits: string, max: bigint): bigint | null {
	if (!/^(0|[1-9][0-9]{0,19})$/.test(digits)) return null;
	const value = BigInt(digits);
	return value <= max ? value : null;
}

export function u64be(value: bigint): Uint8Array {
	const bytes = new Uint8Array(8);
	new DataView(bytes.buffer).setBigUint64(0, value);
	return bytes;
}

/** A text, or the empty one. */
export const str8 = (value: unknown): string => (typeof value === "string" ? value : "");
