import { existsSync } from 'node:fs'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import type { Test } from 'tap'
import type { Owner } from './cleanup-scope.ts'

const executablePath = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium'

/** For a test's `skip`: the reason why there is no browser, or false. */
export const noBrowser = existsSync(executablePath) ? false : 'there is no Chromium here (Debian: apt-get install chromium; or set CHROMIUM_BIN)'

/** Opens a page with cookies and storage of its own, closed with its test. */
export type OpenPage = (owner: Owner, options?: BrowserContextOptions) => Promise<Page>

/** The pages of a test file share one browser, which the first of them starts and `root`, the file's outermost test, closes. */
export function pagesOf (root: Pick<Test, 'teardown'>): OpenPage {
  let browser: Promise<Browser> | undefined
  return async (owner, options) => {
    browser ??= startBrowser(root) // with `after`, tap would wait for the browser to end by itself
    const context = await (await browser).newContext(options)
    owner.after(() => context.close())
    return await context.newPage()
  }
}

/** Starts Debian's Chromium. It draws in software: a GPU process of its own copies each frame once more. */
async function startBrowser (root: Pick<Test, 'teardown'>): Promise<Browser> {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--in-process-gpu'] })
  root.teardown(() => browser.close())
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
