import { readFileSync } from 'node:fs'

/** What TLS to Redis is given beside its address: PEM. */
export interface RedisTls { readonly ca?: string, readonly cert?: string, readonly key?: string }

/** PEM as an environment holds it: the text itself, line breaks perhaps as `\n`, or the path of a file. Undefined for what is neither. */
export function pemOf (value: string): string | undefined {
  const text = value.startsWith('-----BEGIN') ? value.replaceAll('\\n', '\n') : readFile(value)
  return text?.startsWith('-----BEGIN') ? text : undefined
}

/** @returns undefined where nothing is given that is of use alone */
export function tlsOf (ca: string | undefined, cert: string | undefined, key: string | undefined): RedisTls | undefined {
  if (ca === undefined && cert === undefined) return undefined
  return Object.freeze({ ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }) })
}

/** Reads `REDIS_TLS_CA`, `REDIS_TLS_CERT` and `REDIS_TLS_KEY`, for whoever reaches Redis beside the service; what cannot be used is left out, and told by the service's own start. */
export function readRedisTls (environment: Readonly<Record<string, string | undefined>>): RedisTls | undefined {
  const [ca, cert, key] = ['CA', 'CERT', 'KEY'].map((part) => environment[`REDIS_TLS_${part}`]?.trim()).map((value) => value === undefined || value === '' ? undefined : pemOf(value))
  return tlsOf(ca, cert, key)
}

function readFile (path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trimStart()
  } catch {
    return undefined
  }
}
