import fc from 'fast-check'
import { test } from 'tap'
import { boxesAround, distanceKm, longitudeSpan, readPlace } from '../../../service/atlas/place.ts'
import { propertyRuns } from '../../support/property-runs.ts'

const lat = fc.double({ min: -90, max: 90, noNaN: true })
const lon = fc.double({ min: -180, max: 180, noNaN: true })

test('a place is parsed from latitude,longitude', async (t) => {
  t.same(readPlace('48.85,2.35'), { lat: 48.85, lon: 2.35 })
  t.same(readPlace('-90, +180'), { lat: -90, lon: 180 })
})

test('an invalid place is rejected with a code and the input', async (t) => {
  for (const text of ['91,181', '90.1,0', '0,-180.5', '', '1', '1,2,3', 'a,b', '1e1,2', 'NaN,NaN', '0x1,1']) {
    t.throws(() => readPlace(text), { code: 'PRISM_ERR_PLACE', statusCode: 400 }, text)
  }
  t.throws(() => readPlace('91,181'), { message: 'near must be latitude,longitude in degrees, from -90 to 90 and from -180 to 180, but is 91,181.' })
})

test('a box extends over the antimeridian as two boxes, and over a pole as the whole cap', async (t) => {
  t.equal(boxesAround({ lat: 0, lon: 0 }, 100).length, 1)
  t.match(boxesAround({ lat: 0, lon: 179.9 }, 100), [{ east: 180 }, { west: -180 }])
  t.match(boxesAround({ lat: 0, lon: -179.9 }, 100), [{ west: -180 }, { east: 180 }])
  t.match(boxesAround({ lat: 89.9, lon: 10 }, 100), [{ north: 90, west: -180, east: 180 }])
})

test('boxes contain every point within their radius, at any place', async (t) => {
  fc.assert(fc.property(lat, lon, lat, lon, fc.double({ min: 0, max: 15_000, noNaN: true }), (aLat, aLon, bLat, bLon, slackKm) => {
    const a = { lat: aLat, lon: aLon }
    const b = { lat: bLat, lon: bLon }
    const boxes = boxesAround(a, distanceKm(a, b) + slackKm + 0.001)
    return boxes.some((box) => bLat >= box.south && bLat <= box.north && bLon >= box.west && bLon <= box.east)
  }), { numRuns: propertyRuns(1000) })
  t.pass('2000 pairs')
})

test('a distance is measured along the great circle', async (t) => {
  t.equal(Math.round(distanceKm({ lat: 48.85341, lon: 2.3488 }, { lat: 51.50853, lon: -0.12574 })), 344)
  t.equal(Math.round(distanceKm({ lat: 0, lon: 179.5 }, { lat: 0, lon: -179.5 })), 111)
  t.equal(Math.round(distanceKm({ lat: 90, lon: 0 }, { lat: -90, lon: 77 })), 20015)
})

test('a span of longitudes is the narrowest, across the antimeridian if that is narrower', async (t) => {
  t.same(longitudeSpan([2, -4, 9]), { west: -4, east: 9 })
  t.same(longitudeSpan([177, -178, 179]), { west: 177, east: -178 })
  t.same(longitudeSpan([5]), { west: 5, east: 5 })
})
