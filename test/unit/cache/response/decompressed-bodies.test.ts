import { brotliCompressSync, gzipSync } from 'node:zlib'
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { decompressBody, plainBodyOf } from '../../../../src/cache/response/decompressed-bodies.ts'
import type { Entry } from '../../../../src/cache/storage/entry-codec.ts'

function entryOf (key: string, coding: Entry['coding'], body: Buffer): Entry {
  return { key, coding, body, status: 200, sequence: 1, tags: [], fields: [], payloadType: 'text', hasOwnTag: true, bornAt: 0, freshMs: 1, staleWhileSeconds: 0, staleErrorSeconds: 0, mustRevalidate: false }
}

t.test('a body is decompressed once, while its stored bytes are the same', async (t) => {
  const stored = brotliCompressSync('a body')
  t.equal(plainBodyOf(entryOf('once', 'br', stored)), undefined)

  const plain = await decompressBody(entryOf('once', 'br', stored))

  t.equal(plain.toString(), 'a body')
  t.equal(plainBodyOf(entryOf('once', 'br', Buffer.from(stored))), plain, 'read again from Redis')
})

t.test('another response under the same key is decompressed again', async (t) => {
  await decompressBody(entryOf('replaced', 'gzip', gzipSync('the first')))
  const second = entryOf('replaced', 'gzip', gzipSync('the second'))

  t.equal(plainBodyOf(second), undefined)
  t.equal((await decompressBody(second)).toString(), 'the second')
  t.equal(plainBodyOf(second)?.toString(), 'the second')
})

t.test('concurrent decompressions of the same bytes are one', async (t) => {
  const stored = brotliCompressSync('shared')

  const [one, other] = await Promise.all([decompressBody(entryOf('shared', 'br', stored)), decompressBody(entryOf('shared', 'br', Buffer.from(stored)))])

  t.equal(one, other)
})

t.test('a corrupt body rejects, and is not remembered', async (t) => {
  const corrupt = entryOf('corrupt', 'br', Buffer.from('not brotli'))

  await t.rejects(decompressBody(corrupt))
  t.equal(plainBodyOf(corrupt), undefined)
})

t.test('remembered bodies are bounded: the least recently used is dropped', async (t) => {
  const bodies = Array.from({ length: 24 }, (_, index) => entryOf(`large ${index}`, 'gzip', gzipSync(randomBytes(1_000_000), { level: 1 })))

  for (const entry of bodies) await decompressBody(entry)

  t.equal(plainBodyOf(bodies[0] as Entry), undefined)
  t.ok(bodies.filter((entry) => plainBodyOf(entry) !== undefined).length <= 8)
  t.ok(plainBodyOf(bodies.at(-1) as Entry))
})
