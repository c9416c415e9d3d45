/**
 * Ed25519, verified strictly (RFC 8032): canonical S, canonical points, neither key nor R of small
 * order, no cofactor. So it accepts exactly what the other implementations of these formats accept.
 */

import { hashes, Point } from "@noble/ed25519";
import { sha512 } from "@noble/hashes/sha2.js";
import { concat, hex, sha256 } from "./bytes";

hashes.sha512 = sha512;

/** The order of the base point. */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

function littleEndian(bytes: Uint8Array): bigint {
	let value = 0n;
	for (let at = bytes.length - 1; at >= 0; at -= 1) value = (value << 8n) | BigInt(bytes[at] ?? 0);
	return value;
}

function point(bytes: Uint8Array): Point | null {
	try {
		const found = Point.fromBytes(bytes);
		return found.isSmallOrder() ? null : found;
	} catch {
		return null;
	}
}

/** Whether these 32 bytes are a key that may be used. */
export const isKey = (key: Uint8Array): boolean => key.length === 32 && point(key) !== null;

/** Whether the signature is by this key over this message. */
export function verify(signature: Uint8Array, message: Uint8Array, key: Uint8Array): boolean {
	if (signature.length !== 64 || key.length !== 32) return false;
	const r = signature.subarray(0, 32);
	const s = littleEndian(signature.subarray(32));
	const [keyPoint, rPoint] = [point(key), point(r)];
	if (s >= ORDER || !keyPoint || !rPoint) return false;
	const k = littleEndian(sha512(concat(r, key, message))) % ORDER;
	const base = s === 0n ? Point.ZERO : Point.BASE.multiply(s, false);
	const product = k === 0n ? Point.ZERO : keyPoint.multiply(k, false);
	return base.add(product.negate()).equals(rPoint);
}

/** A key's id: the first 8 bytes of its SHA-256. */
export const keyId = (key: Uint8Array): string => hex(sha256(key).subarray(0, 8));
