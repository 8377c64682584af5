import { test } from 'tap'
import { addressGroup } from '../../../src/http/ip-subnet.ts'

test('ip-subnet normalises all notations of an address to one subnet', (t) => {
  t.equal(addressGroup('192.0.2.1'), '192.0.2.1')
  t.equal(addressGroup('::ffff:192.0.2.1'), '192.0.2.1')
  t.equal(addressGroup('::FFFF:c000:201'), '192.0.2.1')
  t.equal(addressGroup('0:0:0:0:0:ffff:192.0.2.1'), '192.0.2.1')
  t.equal(addressGroup('2001:db8:0:1::1'), '2001-db8-0-1-0-0-0-0')
  t.equal(addressGroup('2001:0DB8:0000:0001:ffff:ffff:ffff:ffff'), '2001-db8-0-1-0-0-0-0')
  t.equal(addressGroup('::1'), '0-0-0-0-0-0-0-0')
  for (const zone of ['eth0', '1', 'br_lan', 'eth0@if2', '{a}', '']) t.equal(addressGroup(`fe80::1%${zone}`), 'fe80-0-0-0-0-0-0-0', zone)
  t.end()
})

test('ip-subnet uses the configured prefix length for IPv6', (t) => {
  t.equal(addressGroup('2001:db8:aaaa:bbff::1', 56), '2001-db8-aaaa-bb00-0-0-0-0')
  t.equal(addressGroup('2001:db8:aaaa:bbff::1', 48), '2001-db8-aaaa-0-0-0-0-0')
  t.equal(addressGroup('2001:db8::7', 128), '2001-db8-0-0-0-0-0-7')
  t.equal(addressGroup('2001:db8::7', 0), '0-0-0-0-0-0-0-0')
  t.end()
})

test('ip-subnet rejects invalid addresses', (t) => {
  for (const text of ['', 'unknown', '192.0.2.1:80', '[2001:db8::1]', '192.0.2.256', '01.2.3.4', '1', 'x'.repeat(10_000), '::ffff:192.0.2.1:80', '{a}', '192.0.2.1%eth0', '%eth0', 'unknown%1']) t.equal(addressGroup(text), undefined, text.slice(0, 30))
  t.end()
})
