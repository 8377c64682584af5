import 'reflect-metadata' // must be loaded first: the X.509 library needs it for dependency injection
import { BasicConstraintsExtension, SubjectAlternativeNameExtension, X509CertificateGenerator, type X509Certificate } from '@peculiar/x509'
import type { webcrypto } from 'node:crypto'

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const HOUR_MS = 3_600_000

/** A certificate and its private key, both PEM. */
export interface KeyPair {
  cert: string
  key: string
}

/** A certificate authority of one test, trusted by nothing else. */
export interface Authority {
  /** its own certificate in PEM, which the other side trusts */
  ca: string
  /** A certificate for a server on loopback, or for a client with this name; it expires in an hour, or at `notAfter`. */
  issue (name: string, notAfter?: Date): Promise<KeyPair>
}

/** Creates a certificate authority; its certificates are valid for an hour. */
export async function makeAuthority (): Promise<Authority> {
  const keys = await makeKeys()
  const own = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=test authority',
    keys,
    ...lifetime(),
    signingAlgorithm: ALGORITHM,
    extensions: [new BasicConstraintsExtension(true, undefined, true)]
  })
  return {
    ca: own.toString('pem'),
    issue: (name, notAfter) => issue({ issuer: own, signingKey: keys.privateKey }, name, notAfter)
  }
}

async function issue ({ issuer, signingKey }: { issuer: X509Certificate, signingKey: webcrypto.CryptoKey }, name: string, notAfter?: Date): Promise<KeyPair> {
  const keys = await makeKeys()
  const certificate = await X509CertificateGenerator.create({
    subject: `CN=${name}`,
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey,
    ...lifetime(),
    ...(notAfter === undefined ? {} : { notAfter }),
    signingAlgorithm: ALGORITHM,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }, { type: 'ip', value: '127.0.0.1' }])]
  })
  return { cert: certificate.toString('pem'), key: await toPem(keys.privateKey) }
}

async function makeKeys (): Promise<webcrypto.CryptoKeyPair> {
  return await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
}

async function toPem (key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', key))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return ['-----BEGIN PRIVATE KEY-----', ...lines, '-----END PRIVATE KEY-----', ''].join('\n')
}

function lifetime (): { notBefore: Date, notAfter: Date } {
  const now = Date.now()
  return { notBefore: new Date(now - HOUR_MS), notAfter: new Date(now + HOUR_MS) }
}
