/**
 * The browser's key: Ed25519, made here, and not to be taken out where the browser can keep it so.
 *
 * Every request that needs an identity is proven by it (DPoP, RFC 9449). There is no cookie and no
 * token that could be sent by another page or read by another port. Where WebCrypto is not there, or
 * has no Ed25519, the key lives as long as the tab does.
 */

import { getPublicKey, hashes, sign as nobleSign, utils } from "@noble/ed25519";
import { sha512 } from "@noble/hashes/sha2.js";
import { thumbprint } from "../verify/artifact";
import { fromBase64Url, toBase64Url, utf8 } from "../verify/bytes";

hashes.sha512 = sha512;

export interface Key {
	publicKey: Uint8Array;
	thumbprint: string;
	/** Whether it can leave the browser: only where it had to be made by a script. */
	extractable: boolean;
	sign(message: Uint8Array): Promise<Uint8Array>;
}

const STORE = "keys";
const NAME = "own";
const SEED = "placet-seed";

function database(): Promise<IDBDatabase> {
	return new Promise((resolve, reject) => {
		const opening = indexedDB.open("placet-console", 1);
		opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
		opening.onsuccess = () => resolve(opening.result);
		opening.onerror = () => reject(opening.error);
	});
}

async function stored<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
	const db = await database();
	try {
		return await new Promise((resolve, reject) => {
			const request = work(db.transaction(STORE, mode).objectStore(STORE));
			request.onsuccess = () => resolve(request.result);
			request.onerror = () => reject(request.error);
		});
	} finally {
		db.close();
	}
}

async function kept(fresh: boolean): Promise<Key> {
	let pair = fresh ? undefined : ((await stored("readonly", (store) => store.get(NAME))) as CryptoKeyPair | undefined);
	if (!pair) {
		pair = (await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"])) as CryptoKeyPair;
		const made = pair;
		await stored("readwrite", (store) => store.put(made, NAME));
	}
	const { privateKey, publicKey } = pair;
	const raw = new Uint8Array(await crypto.subtle.exportKey("raw", publicKey));
	return {
		publicKey: raw,
		thumbprint: thumbprint(raw),
		extractable: false,
		sign: async (message) =>
			new Uint8Array(await crypto.subtle.sign({ name: "Ed25519" }, privateKey, message as BufferSource)),
	};
}

function ofTab(fresh: boolean): Key {
	const known = fresh ? null : fromBase64Url(sessionStorage.getItem(SEED) ?? "-");
	const seed = known?.length === 32 ? known : utils.randomSecretKey();
	sessionStorage.setItem(SEED, toBase64Url(seed));
	const publicKey = getPublicKey(seed);
	return {
		publicKey,
		thumbprint: thumbprint(publicKey),
		extractable: true,
		sign: async (message) => nobleSign(message, seed),
	};
}

/** The key of this browser; with `fresh`, another one in its place. */
export async function ownKey(fresh = false): Promise<Key> {
	if (globalThis.crypto?.subtle && globalThis.indexedDB) {
		try {
			return await kept(fresh);
		} catch {
			// A browser without Ed25519, or one that keeps nothing: the tab keeps it.
		}
	}
	return ofTab(fresh);
}

/** A proof for one request. */
export async function proof(key: Key, method: string, address: URL, now: number): Promise<string> {
	const part = (value: object) => toBase64Url(utf8(JSON.stringify(value)));
	const jwk = { crv: "Ed25519", kty: "OKP", x: toBase64Url(key.publicKey) };
	const id = new Uint8Array(16);
	crypto.getRandomValues(id);
	const claims = {
		jti: toBase64Url(id),
		htm: method,
		htu: `${address.origin}${address.pathname}`,
		iat: Math.floor(now / 1000),
	};
	const signed = `${part({ typ: "dpop+jwt", alg: "EdDSA", jwk })}.${part(claims)}`;
	return `${signed}.${toBase64Url(await key.sign(utf8(signed)))}`;
}
