import { readFileSync } from 'node:fs'

/** TLS options for Redis, PEM-encoded. */
export interface RedisTls { readonly ca?: string, readonly cert?: string, readonly key?: string }

/** Reads PEM from an environment variable: the text (line breaks may be written as `\n`), or the path of a file. Undefined if it is neither. */
export function pemOf (value: string): string | undefined {
  const text = value.startsWith('-----BEGIN') ? value.replaceAll('\\n', '\n') : readFile(value)
  return text?.startsWith('-----BEGIN') ? text : undefined
}

/** @returns undefined without a CA and a certificate: a key alone has no use */
export function tlsOf (ca: string | undefined, cert: string | undefined, key: string | undefined): RedisTls | undefined {
  if (ca === undefined && cert === undefined) return undefined
  return Object.freeze({ ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }) })
}

/** Reads `REDIS_TLS_CA`, `REDIS_TLS_CERT` and `REDIS_TLS_KEY`, for programs that connect to the service's Redis. Invalid values are ignored here; the service reports them at its start. */
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
