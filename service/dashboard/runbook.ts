import { readFileSync } from 'node:fs'

/** What to do when an alert fires: the sections of `docs/operations.md`, so that the dashboard needs no other site. */
export interface Runbook {
  /** title and Markdown text of a section; undefined: there is none */
  section (anchor: string): { readonly title: string, readonly text: string } | undefined
}

/** Reads the runbook. Without the file, as in an image without documents, no alert has a section. */
export function readRunbook (path = new URL('../../docs/operations.md', import.meta.url)): Runbook {
  const text = textOf(path)
  const sections = new Map(text.split(/^#{2,3} /m).slice(1).map((part) => {
    const [title = '', ...lines] = part.split('\n')
    return [anchorOfTitle(title), { title, text: lines.join('\n').trim() }]
  }))
  return { section: (anchor) => sections.get(anchor) }
}

function textOf (path: URL): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}

/** As GitHub makes the anchor of a heading. */
function anchorOfTitle (title: string): string {
  return title.toLowerCase().replace(/[^\w\s-]/g, '').trim().replaceAll(' ', '-')
}
