'use strict'
// A client of the gateway with node-postgres: it says what came of each step.

const fs = require('fs')
const { pipeline } = require('stream/promises')
const { Readable, Writable } = require('stream')
const { Client } = require('pg')
const Cursor = require('pg-cursor')
const copy = require('pg-copy-streams')

const env = name => process.env['PEER_' + name]
const say = (key, value) => console.log(key + '\t' + String(value).replace(/\s+/g, ' '))

function error(e) {
  if (e.severity) return `${e.severity} ${e.code}: ${e.message}` + (e.hint ? ` HINT: ${e.hint}` : '')
  return `${e.name} ${e.code}: ${e.message}`
}

async function step(key, f) {
  try {
    say(key, await f())
  } catch (e) {
    say(key, error(e))
  }
}

async function connect(host, ca) {
  const c = new Client({
    host, port: Number(env('PORT')), user: env('USER'), password: env('PASSWORD'), database: env('DATABASE'),
    ssl: { ca: fs.readFileSync(ca), rejectUnauthorized: true }, enableChannelBinding: true, connectionTimeoutMillis: 10000,
  })
  c.on('error', e => { c.failed = e })
  await c.connect()
  return c
}

const sleep = ms => new Promise(done => setTimeout(done, ms))

async function main() {
  await step('wrong ca', () => connect(env('HOST'), env('WRONG_CA')))
  await step('wrong name', () => connect('localhost', env('CA')))
  const c = await connect(env('HOST'), env('CA'))
  const one = async (text, values) => Object.values((await c.query(text, values)).rows[0])[0]
  await step('simple', () => one('select count(*) from orders'))
  await step('prepared', async () => {
    let sum = 0
    for (let i = 1; i <= 20; i++) sum += Number((await c.query({ name: 'mine', text: 'select total from orders where id = $1', values: [i] })).rows[0].total)
    return sum
  })
  await step('batch', async () => { // queued by the driver
    const all = []
    for (let i = 1; i <= 500; i++) all.push(c.query('insert into blobs values ($1, $2)', [-i, 'batch']))
    return (await Promise.all(all)).reduce((n, r) => n + r.rowCount, 0)
  })
  await step('cursor', async () => {
    const cursor = c.query(new Cursor('select * from orders'))
    let n = 0
    for (let rows; (rows = await cursor.read(100)).length > 0;) n += rows.length
    await cursor.close()
    return n
  })
  await step('copy in', async () => {
    const to = c.query(copy.from('copy blobs from stdin'))
    await pipeline(Readable.from([Buffer.from('1\ta\n2\tb\n3\tc\n')]), to)
    return to.rowCount
  })
  await step('copy out', async () => {
    let lines = 0
    const from = c.query(copy.to('copy orders to stdout'))
    await pipeline(from, new Writable({ write(b, _, done) { for (const one of b) if (one === 10) lines++; done() } }))
    return from.rowCount + ' ' + lines
  })
  await step('large out', async () => (await one("select repeat('x', 16 * 1024 * 1024)")).length)
  await step('large in', () => one('select length($1::text)', ['x'.repeat(16 * 1024 * 1024)]))
  await step('cancel', async () => {
    const running = one('select pg_sleep(60)')
    running.catch(() => {})
    await sleep(500)
    // As the protocol has it: on a connection of its own, in clear.
    const other = new Client({ host: env('HOST'), port: Number(env('PORT')) })
    other.cancel(c, c._activeQuery || c.activeQuery)
    return running
  })
  await step('after cancel', () => one("select 'here'"))
  await step('denied', () => one('select * from customers'))
  await step('listen', async () => { await c.query('listen x'); return 'listens' })
  await c.query('begin')
  await step('begun', () => one('select 1'))
  await step('refused within', async () => { await c.query('listen x'); return 'listens' })
  await step('failed within', () => one('select 2'))
  await c.query('rollback')
  await step('after rollback', () => one('select 3'))
  say('waiting', '')
  await step('end', () => one('select pg_sleep(60)'))
  await step('usable', async () => { await sleep(50); return one('select 4') })
  await step('again', () => connect(env('HOST'), env('CA')))
  process.exit(0)
}

main().catch(e => { console.error(e); process.exit(1) })
