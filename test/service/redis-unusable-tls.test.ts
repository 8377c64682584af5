import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer, type TlsOptions } from 'node:tls'
import t, { type Test } from 'tap'
import { makeAuthority } from '../support/certificates.ts'
import { startRedis } from '../support/redis.ts'
import { startTls } from '../support/tls.ts'
import { testReports, type Place, type Setup } from '../support/unusable-redis.ts'

/** A server with TLS whose handshake fails before Redis would reply. */
async function listenTls (t: Test, options: TlsOptions, notAfter?: Date): Promise<Place> {
  const authority = await makeAuthority()
  const server = createServer({ ...await authority.issue('localhost', notAfter), ...options }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.close() })
  return { url: `rediss://127.0.0.1:${(server.address() as AddressInfo).port}`, tls: { ca: authority.ca } }
}

const aMinuteAgo = () => new Date(Date.now() - 60_000)

const setups: readonly Setup[] = [
  {
    does: 'has a certificate of an unknown authority',
    start: async (t) => ({ url: (await startTls(t)).url }),
    code: 'certificate_untrusted',
    alert: 'PrismRedisDown',
    says: /authority that this machine does not trust/
  },
  {
    does: 'has a certificate of another authority with the name of the configured one',
    start: async (t) => ({ url: (await startTls(t)).url, tls: { ca: (await makeAuthority()).ca } }),
    code: 'certificate_untrusted',
    alert: 'PrismRedisDown',
    says: /authority that this machine does not trust/
  },
  {
    does: 'has a certificate for another name',
    start: async (t) => {
      const { port, ca } = await startTls(t, { args: ['--bind', '127.0.0.1', '127.0.0.2'] })
      return { url: `rediss://127.0.0.2:${port}`, tls: { ca } }
    },
    code: 'certificate_wrong_name',
    alert: 'PrismRedisDown',
    says: /another name/
  },
  {
    does: 'requires a client certificate',
    start: async (t) => {
      const { url, ca } = await startTls(t, { authClients: true })
      return { url, tls: { ca } }
    },
    code: 'client_certificate_wanted',
    alert: 'PrismRedisDown',
    says: /client certificate/
  },
  { does: 'speaks plain TCP instead of TLS', start: async (t) => ({ url: (await startRedis(t)).url.replace('redis:', 'rediss:') }), code: 'server_speaks_plain', alert: 'PrismRedisDown', says: /does not use TLS/ },
  { does: 'speaks TLS instead of plain TCP', start: async (t) => ({ url: (await startTls(t)).url.replace('rediss:', 'redis:') }), code: 'server_speaks_tls', alert: 'PrismRedisDown', says: /accepts only TLS/ },
  { does: 'has an expired certificate', start: async (t) => await listenTls(t, {}, aMinuteAgo()), code: 'certificate_expired', alert: 'PrismRedisDown', says: /has expired/ },
  {
    does: 'does not trust the client certificate',
    start: async (t) => {
      const { url, ca } = await startTls(t, { authClients: true })
      return { url, tls: { ca, ...await (await makeAuthority()).issue('client') } }
    },
    code: 'client_certificate_rejected',
    alert: 'PrismRedisDown',
    says: /rejects the TLS client certificate/
  },
  {
    does: 'receives an expired client certificate',
    start: async (t) => {
      const { url, ca, authority } = await startTls(t, { authClients: true })
      return { url, tls: { ca, ...await authority.issue('client', aMinuteAgo()) } }
    },
    code: 'client_certificate_rejected',
    alert: 'PrismRedisDown',
    says: /rejects the TLS client certificate/
  },
  {
    does: 'is given a client certificate with the key of another one',
    start: async (t) => {
      const { url, ca, client, authority } = await startTls(t, { authClients: true })
      return { url, tls: { ca, cert: client.cert, key: (await authority.issue('other')).key } }
    },
    code: 'client_certificate_unusable',
    alert: 'PrismRedisDown',
    says: /do not belong together/
  },
  { does: 'has only an old version of TLS', start: async (t) => await listenTls(t, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }), code: 'tls_handshake_failed', alert: 'PrismRedisDown', says: /PROTOCOL_VERSION/ },
  { does: 'has no cipher in common with the service', start: async (t) => await listenTls(t, { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA256' }), code: 'tls_handshake_failed', alert: 'PrismRedisDown', says: /HANDSHAKE_FAILURE/ }
]

t.setTimeout(300_000)

testReports(setups)
