import t from 'tap'
import { deviceLabel } from '../../../src/http/device-label.ts'

const webkit = 'AppleWebKit/537.36 (KHTML, like Gecko)'
const known: readonly (readonly [label: string, userAgent: string])[] = [
  ['Firefox on Windows', 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0'],
  ['Firefox on Linux', 'Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0'],
  ['Firefox on Android', 'Mozilla/5.0 (Android 14; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0'],
  ['Firefox on iPhone', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/133.0 Mobile/15E148 Safari/605.1.15'],
  ['Chrome on Windows', `Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${webkit} Chrome/131.0.0.0 Safari/537.36`],
  ['Chrome on macOS', `Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) ${webkit} Chrome/131.0.0.0 Safari/537.36`],
  ['Chrome on Android', `Mozilla/5.0 (Linux; Android 10; K) ${webkit} Chrome/131.0.0.0 Mobile Safari/537.36`],
  ['Chrome on iPhone', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1'],
  ['Chrome on ChromeOS', `Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) ${webkit} Chrome/131.0.0.0 Safari/537.36`],
  ['Chrome on Linux', `Mozilla/5.0 (X11; Linux x86_64) ${webkit} HeadlessChrome/131.0.0.0 Safari/537.36`],
  ['Edge on Windows', `Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${webkit} Chrome/131.0.0.0 Safari/537.36 Edg/131.0.2903.51`],
  ['Opera on macOS', `Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) ${webkit} Chrome/130.0.0.0 Safari/537.36 OPR/115.0.0.0`],
  ['Samsung Internet on Android', `Mozilla/5.0 (Linux; Android 14; SM-S928B) ${webkit} SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36`],
  ['Android WebView on Android', `Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) ${webkit} Version/4.0 Chrome/131.0.0.0 Mobile Safari/537.36`],
  ['Safari on macOS', 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15'],
  ['Safari on iPad', 'Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1'],
  ['Instagram on iPhone', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/22B83 Instagram 358.0.0.31.88'],
  ['Internet Explorer on Windows', 'Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko'],
  ['Electron on Windows', `Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${webkit} Mail/4.1 Chrome/130.0.0.0 Electron/33.2.0 Safari/537.36`],
  ['Windows', 'Something/1.0 (Windows NT 10.0)'],
  ['curl', 'curl/8.11.0']
]

t.test('a device label has the browser and the system', async (t) => {
  for (const [label, userAgent] of known) t.equal(deviceLabel(userAgent), label, userAgent)
})

t.test('an unknown or missing User-Agent has no label', async (t) => {
  for (const userAgent of [undefined, '', 'lightMyRequest', 'node', 'Mozilla/5.0', 'x'.repeat(100_000)]) t.equal(deviceLabel(userAgent), undefined)
})

t.test('a label contains no text of the client and is short', async (t) => {
  const hostile = `Firefox/<script>alert(1)</script> (Windows; ada@example.com) ${'Chrome/ '.repeat(20_000)}`
  const pieces = known.map(([, userAgent]) => userAgent)

  t.equal(deviceLabel(hostile), 'Firefox on Windows')
  for (const one of pieces) for (const other of pieces) t.ok((deviceLabel(`${one} ${other}`) ?? '').length <= 40)
})
