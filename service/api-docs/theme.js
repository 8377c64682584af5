// Swagger UI has a dark theme, and leaves its choice to the page.
const dark = window.matchMedia('(prefers-color-scheme: dark)')
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
dark.addEventListener('change', follow)
follow()

const places = [['/', 'fastify-prism'], ['/openapi.json', 'openapi.json'], ['/ops', 'Operations']]
const links = places.map(([href, textContent]) => Object.assign(document.createElement('a'), { href, textContent }))
const navigation = document.createElement('nav')
navigation.setAttribute('aria-label', 'Service')
navigation.append(...links)
document.body.prepend(navigation)
document.head.append(Object.assign(document.createElement('meta'), { name: 'viewport', content: 'width=device-width, initial-scale=1' }))
