import { seconds } from './element.js'

/** The outcome of the cache in one word, for the colour of a line. */
export function outcomeOf ({ cacheStatus, status }) {
  if (status === 0 || status >= 400) return 'refused'
  if (cacheStatus === undefined) return 'plain'
  if (/; *hit\b/.test(cacheStatus)) return /; *ttl=-/.test(cacheStatus) ? 'stale' : 'hit'
  return /; *fwd=bypass\b/.test(cacheStatus) ? 'bypass' : 'miss'
}

/** What the page tells about a response, in one sentence or two. */
export function explain (response) {
  const { method, path, status, value, retryAfter } = response
  if (status === 0) return 'The service could not be reached.'
  if (status === 429) return `Quota used up, rejected before the handler: wait ${seconds(retryAfter ?? 1)}.`
  if (status === 401) return `${value?.detail ?? 'Not signed in.'} The handler did not run.`
  if (status === 503) return `${value?.detail ?? 'Temporarily unavailable.'}${retryAfter === undefined ? '' : ` Retry in ${seconds(retryAfter)}.`}`
  if (status >= 400) return value?.detail ?? `The service responded with ${status}.`
  if (method === 'PUT') return 'Written and purged in all processes; an event tells those who watch.'
  if (method === 'POST' && path === '/session') return 'Signed in: the session is in Redis, its token in a cookie that scripts cannot read.'
  if (method === 'DELETE' && path === '/session') return 'Signed out: the session has ended in all processes.'
  if (method === 'POST') return 'The user exists now, and can sign in.'
  return explainCache(response)
}

function explainCache ({ cacheStatus, age = 0, path }) {
  const ttl = Number(/; *ttl=(-?\d+)/.exec(cacheStatus ?? '')?.[1])
  if (cacheStatus === undefined) return path === '/cities/random' ? 'Not cached: another city each time.' : 'This route is not cached.'
  if (/; *hit\b/.test(cacheStatus)) return ttl < 0 ? 'Stale, sent at once while a background request refreshes it.' : `From Redis, stored ${seconds(age)} ago and fresh for ${seconds(ttl)} more: the handler did not run.`
  if (/; *fwd=bypass\b/.test(cacheStatus)) return `The cache was bypassed (${detailOf(cacheStatus)}): the handler ran.`
  if (/; *collapsed\b/.test(cacheStatus)) return 'Shared the handler run of another request that came at the same time.'
  if (/; *stored\b/.test(cacheStatus)) return 'The handler ran, and its response is stored now.'
  return `The handler ran; the response was not stored (${detailOf(cacheStatus)}).`
}

function detailOf (cacheStatus) {
  return /; *detail="?([^";]+)/.exec(cacheStatus)?.[1] ?? 'no reason given'
}
