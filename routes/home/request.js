const observers = new Set()

/** Calls the observer with each response, and with each request that has none (`status` 0). */
export function observe (observer) {
  observers.add(observer)
}

/**
 * Sends a request past the browser's own cache, so that each response is the service's.
 *
 * `isAnonymous`: without cookies. `isQuiet`: a request of the page itself, which it does not list.
 * Resolves to undefined if `signal` has aborted it.
 */
export async function sendRequest (method, path, { body, signal, isAnonymous = false, isQuiet = false } = {}) {
  const startedAt = performance.now()
  const request = { method, path, isQuiet, isAnonymous, at: Date.now() }
  let outcome
  try {
    const response = await fetch(path, {
      method,
      signal,
      cache: 'no-store',
      credentials: isAnonymous ? 'omit' : 'same-origin',
      ...body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
    })
    const ms = performance.now() - startedAt
    outcome = { ...request, ms, ...factsOf(response), value: await response.json().catch(() => undefined) }
  } catch {
    if (signal?.aborted) return undefined
    outcome = { ...request, ms: performance.now() - startedAt, status: 0, ok: false }
  }
  for (const observer of observers) observer(outcome)
  return outcome
}

function factsOf ({ ok, status, headers }) {
  const whole = (name) => headers.has(name) ? Number(headers.get(name)) : undefined
  return { ok, status, cacheStatus: headers.get('cache-status') ?? undefined, age: whole('age'), retryAfter: whole('retry-after'), limits: limitsOf(headers) }
}

/** The structured fields `RateLimit: "default";r=987;t=12, …` and `RateLimit-Policy: "default";q=1000;w=60, …`, by policy. */
function limitsOf (headers) {
  const limits = new Map()
  for (const field of ['ratelimit-policy', 'ratelimit']) {
    for (const [, name, parameters] of (headers.get(field) ?? '').matchAll(/"([\w.-]+)"((?:;\w+=(?:\d+|"[^"]*"))*)/g)) {
      const values = Object.fromEntries([...parameters.matchAll(/;(\w+)=(\d+)/g)].map(([, key, value]) => [key, Number(value)]))
      limits.set(name, { ...limits.get(name), ...values })
    }
  }
  return limits
}
