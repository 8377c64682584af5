type Rule = readonly [name: string, pattern: RegExp]

/** A browser's `User-Agent` names those it descends from too: the most specific name comes first. */
const browsers: readonly Rule[] = [
  ['Facebook', /\bFB(?:AN|AV|_IAB)\b/],
  ['Instagram', /\bInstagram\b/],
  ['Edge', /\b(?:Edg|EdgA|EdgiOS|Edge)\//],
  ['Opera', /\b(?:OPR|OPT|OPiOS|Opera)\b/],
  ['Samsung Internet', /\bSamsungBrowser\//],
  ['Vivaldi', /\bVivaldi\//],
  ['Yandex Browser', /\bYaBrowser\//],
  ['DuckDuckGo', /\b(?:DuckDuckGo|Ddg)\//],
  ['UC Browser', /\bUC(?:BrowserE?|WEB)\b/],
  ['Brave', /\bBrave\//],
  ['Electron', /\bElectron\//],
  ['Firefox', /\b(?:Firefox|FxiOS|Focus)\//],
  ['Android WebView', /; wv\)/],
  ['Chrome', /\b(?:Headless)?(?:Chrome|CriOS|Chromium)\//],
  ['Safari', /\bVersion\/[\d.]+ .*\bSafari\//],
  ['Internet Explorer', /\bMSIE |\bTrident\//],
  ['curl', /^curl\//],
  ['Wget', /^Wget\//],
  ['Postman', /^PostmanRuntime\//]
]

const systems: readonly Rule[] = [
  ['Xbox', /\bXbox\b/],
  ['Windows', /\bWindows\b/],
  ['iPhone', /\biPhone\b/],
  ['iPad', /\biPad\b/],
  ['ChromeOS', /\bCrOS\b/],
  ['TV', /\b(?:SmartTV|SMART-TV|Web0S|AppleTV|GoogleTV|BRAVIA|Android TV)\b/],
  ['PlayStation', /\bPlayStation\b/i],
  ['Android', /\bAndroid\b/],
  ['macOS', /\bMacintosh\b|\bMac OS X\b/],
  ['FreeBSD', /\bFreeBSD\b/],
  ['Linux', /\bLinux\b|\bX11\b/]
]

/** No browser sends more; the rest of a longer header is not read. */
const readCharacters = 512

/**
 * A short name of the client's device, such as `Firefox on Windows`. It consists of names in this file only: no version, and no text of the client.
 *
 * @param userAgent the `User-Agent` header
 * @returns at most 40 characters; undefined if neither browser nor system is known
 */
export function deviceLabel (userAgent: string | undefined): string | undefined {
  if (userAgent === undefined) return undefined
  const text = userAgent.slice(0, readCharacters)
  const [browser, system] = [nameIn(browsers, text), nameIn(systems, text)]
  return browser !== undefined && system !== undefined ? `${browser} on ${system}` : browser ?? system
}

function nameIn (rules: readonly Rule[], text: string): string | undefined {
  return rules.find(([, pattern]) => pattern.test(text))?.[0]
}
