/** Options of another package, by name: what to write instead. */
interface ForeignOptions {
  readonly package: string
  readonly instead: Readonly<Record<string, string>>
}

const rateLimit: ForeignOptions = {
  package: '@fastify/rate-limit',
  instead: {
    max: 'write rateLimit.quota',
    timeWindow: "write rateLimit.window, a duration such as '1m'",
    keyGenerator: "write rateLimit.by: 'ip', 'user', 'session', { apiKey, verify } or a function",
    groupId: 'write rateLimit.group',
    errorResponseBuilder: 'write rateLimit.onExceeded, which returns the payload, sends the reply or throws',
    onExceeding: 'read request.rateLimit, which has the rest of each quota',
    onBanReach: 'count rejections in rateLimit.onExceeded with fastify.rateLimits.check',
    allowList: 'write rateLimit.allowList on the stack; for a function of the request, return 0 from rateLimit.cost',
    ipv6Subnet: 'write rateLimit.ipv6Subnet on the stack',
    ban: 'count rejections in rateLimit.onExceeded with fastify.rateLimits.check',
    skipOnError: "write rateLimit.failureMode: 'open' in place of true, 'closed' in place of false",
    continueExceeding: "leave it out: a rejected request consumes nothing, and the algorithm 'gcra' refills steadily",
    exponentialBackoff: 'leave it out: Retry-After tells when a request fits, and rateLimit.jitter spreads retries',
    enableDraftSpec: 'leave it out: RateLimit and RateLimit-Policy are always sent',
    addHeaders: 'write rateLimit.legacyHeaders for X-RateLimit-*; RateLimit, RateLimit-Policy and Retry-After are always sent',
    addHeadersOnExceeding: 'write rateLimit.legacyHeaders for X-RateLimit-*; RateLimit and RateLimit-Policy are always sent',
    global: "set rateLimit.quota on the stack for all routes, and rateLimit: false in a route's config to count nothing",
    cache: 'leave it out: counters are in Redis',
    redis: 'write redis.url on the stack',
    nameSpace: 'write redis.prefix on the stack',
    store: 'leave it out: counters are in Redis. An app that keeps @fastify/rate-limit passes rateLimitStore to it'
  }
}

const session: ForeignOptions = {
  package: '@fastify/session and express-session',
  instead: {
    secret: 'write session.secrets, a list, newest first',
    cookieName: 'write session.cookie.name',
    name: 'write session.cookie.name',
    key: 'write session.cookie.name',
    cookiePrefix: 'leave it out: the cookie is encrypted and has a format of its own',
    algorithm: 'leave it out: the cookie is encrypted and authenticated by AES-256-GCM',
    store: 'leave it out: sessions are in Redis; session.redis names a server of their own',
    saveUninitialized: 'leave it out: a session is stored at its first change',
    resave: 'leave it out: a session is stored when it has changed',
    rolling: 'write session.idleTimeout, which each request renews, and session.absoluteTimeout, which none does',
    idGenerator: 'leave it out: an ID has 160 random bits',
    genid: 'leave it out: an ID has 160 random bits',
    proxy: "write trustProxy in Fastify's options, and session.cookie.secure",
    unset: 'call request.session.signOut()'
  }
}

const cookie: ForeignOptions = {
  package: session.package,
  instead: {
    maxAge: "write session.idleTimeout and session.absoluteTimeout, durations such as '1h'",
    originalMaxAge: "write session.idleTimeout and session.absoluteTimeout, durations such as '1h'",
    expires: "write session.absoluteTimeout, a duration such as '12h'",
    httpOnly: 'leave it out: the cookie is always HttpOnly',
    signed: 'leave it out: the cookie is encrypted and authenticated',
    encode: 'leave it out: the cookie needs no encoding',
    priority: 'leave it out: it is not sent'
  }
}

const caching: ForeignOptions = {
  package: '@fastify/caching',
  instead: {
    expiresIn: "write browserMaxAge beside cache.ttl in config.cache, a duration such as '5m'",
    serverExpiresIn: "write ttl in config.cache, a duration such as '5m'; for a CDN, set s-maxage in the handler's Cache-Control",
    privacy: "write partition in config.cache: 'user' for responses of one user; leave the key out for responses that are not cached",
    cache: 'leave it out: responses are in Redis, and fastify.cache has wrap, get and delete for values',
    cacheSegment: 'write redis.prefix on the stack',
    etagMaxLife: 'leave it out: an entity tag lives as long as its response, cache.ttl'
  }
}

const inUrl = "write redis.url: 'redis://user:password@host:port/db'"
const inUrlOrConnection = `${inUrl}, or write it in redis.connection`

const ioredis: ForeignOptions = {
  package: 'ioredis',
  instead: {
    host: inUrl,
    port: inUrl,
    path: "write redis.url: 'unix:///path'",
    username: inUrlOrConnection,
    password: inUrlOrConnection,
    db: inUrlOrConnection,
    tls: "write redis.url: 'rediss://…', and its options as tls in redis.connection",
    keyPrefix: 'write redis.prefix',
    sentinels: "write redis.url: 'redis+sentinel://host:port,host:port/name'"
  }
}

/** By the option that holds them, without list positions. */
const foreignOptions: Readonly<Record<string, readonly ForeignOptions[]>> = {
  redis: [ioredis],
  rateLimit: [rateLimit],
  session: [session],
  'config.session': [session],
  'session.cookie': [cookie],
  cache: [caching],
  prism: [rateLimit, session, caching]
}

/** An option that another package has: whose it is, and what to write instead; undefined for any other. */
export function foreignOption (holder: string, name: string): { readonly package: string, readonly instead: string } | undefined {
  const found = foreignOptions[holder.replace(/\[\d+\]/g, '')]?.filter(({ instead }) => Object.hasOwn(instead, name)) ?? []
  return found.length === 0 ? undefined : { package: found.map((each) => each.package).join(' and '), instead: found.map(({ instead }) => instead[name]).join('; or, ') }
}
