import { ScopeError } from './errors.ts'

/** What a part decorates: names of the instance, of requests and of replies. */
interface Decorators {
  readonly instance?: readonly string[]
  readonly request?: readonly string[]
  readonly reply?: readonly string[]
}

type Kind = keyof Decorators
type Method = (this: unknown, name: unknown, ...rest: unknown[]) => unknown
type Instance = Record<string, Method>

const methods = {
  instance: { has: 'hasDecorator', add: 'decorate', shown: 'fastify' },
  request: { has: 'hasRequestDecorator', add: 'decorateRequest', shown: 'request' },
  reply: { has: 'hasReplyDecorator', add: 'decorateReply', shown: 'reply' }
} as const

/** Packages that are known to use a name. */
const others: Readonly<Record<string, string>> = {
  'fastify.cache': 'plugins such as @fastify/caching',
  'request.session': '@fastify/session and @fastify/secure-session'
}

/**
 * Claims names for a part of the stack, before it decorates them.
 *
 * @param option the part's, which is false where an app wants another package's
 * @returns to be called once the part has decorated them: from then on another package that does is refused, in the scopes inside too
 * @throws {ScopeError} PRISM_ERR_SCOPE when one is decorated already; Fastify's own error names neither package, and a child scope fails at its first request
 */
export function claimDecorators (scope: object, option: string, decorators: Decorators): () => void {
  const instance = scope as Instance
  const claimed = Object.entries(decorators) as [Kind, readonly string[]][]
  for (const [kind, names] of claimed) {
    const taken = names.find((name) => instance[methods[kind].has]?.(name))
    if (taken !== undefined) throw collision(`register(${option})`, kind, taken, option)
  }
  return () => { for (const [kind, names] of claimed) keep(instance, kind, names, option) }
}

function keep (instance: Instance, kind: Kind, names: readonly string[], option: string): void {
  const { add } = methods[kind]
  const original = instance[add] as Method
  const decorate: Method = function (name, ...rest) {
    if (names.includes(name as string)) throw collision(`${add}('${String(name)}')`, kind, String(name), option)
    return original.call(this, name, ...rest)
  }
  instance[add] = decorate
}

function collision (call: string, kind: Kind, name: string, option: string): Error {
  const full = `${methods[kind].shown}.${name}`
  const known = others[full] === undefined ? '' : ` (${others[full]} decorate it too)`
  return new ScopeError(call, `${full} is decorated already, by fastify-prism or by another plugin${known}. Use one of the two: leave the other plugin out, or give fastify-prism ${option}: false. To use both, register them in two scopes beside each other`)
}
