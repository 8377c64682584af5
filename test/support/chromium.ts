import { existsSync } from 'node:fs'
import { chromium } from 'playwright-core'
import type { Browser, Page } from 'playwright-core'
import type { Owner } from './cleanup-scope.ts'

const executablePath = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium'

/** For a test's `skip`: the reason why there is no browser, or false. */
export const noBrowser = existsSync(executablePath) ? false : 'there is no Chromium here (Debian: apt-get install chromium; or set CHROMIUM_BIN)'

/** Starts Debian's Chromium, closed with its owner. */
export async function startBrowser (owner: Owner): Promise<Browser> {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  owner.after(() => browser.close())
  return browser
}

/** Collects the errors of a page's console and scripts. */
export function complaintsOf (page: Page): string[] {
  const complaints: string[] = []
  page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()) })
  page.on('pageerror', (error) => complaints.push(error.message))
  return complaints
}

/** Color schemes and sizes in which pages are checked. */
export const looks = [
  { name: 'dark', colorScheme: 'dark', size: { width: 1280, height: 900 } },
  { name: 'light', colorScheme: 'light', size: { width: 1280, height: 900 } },
  { name: 'phone', colorScheme: 'light', size: { width: 390, height: 844 } },
  { name: 'small phone, dark', colorScheme: 'dark', size: { width: 320, height: 640 } }
] as const
