// Checks with MQTT.js 5.x. Arguments: HOST PORT [CHECK…]. A check is a function in `checks` below;
// its name, read as a sentence, is the line printed, and it passes unless it throws.
'use strict'

const assert = require('node:assert/strict')
const { randomBytes, createHash } = require('node:crypto')
const { once } = require('node:events')
const { readFileSync } = require('node:fs')
const mqtt = require('mqtt')

const [host, port, ...wanted] = process.argv.slice(2)
const over = process.env.CLIENTS_OVER ?? 'tcp' // or tls, ws, wss; unix, where HOST is a file
const anyBroker = process.env.CLIENTS_ANY_BROKER === '1'
const times = process.env.CLIENTS_TIMES
const patience = 10_000 // milliseconds that any one awaited event may take

/** How MQTT.js is told where the broker is. */
function place () {
  if (over === 'unix') return { protocol: 'mqtt', unixSocket: true, path: host }
  const protocol = { tcp: 'mqtt', tls: 'mqtts' }[over] ?? over
  const ca = process.env.CLIENTS_CA
  return {
    protocol,
    host,
    port: Number(port),
    ...(protocol.startsWith('ws') ? { path: '/mqtt' } : {}),
    // As every browser names it.
    ...(protocol === 'wss' ? { wsOptions: { ALPNProtocols: ['http/1.1'] } } : {}),
    ...(ca ? { ca: readFileSync(ca) } : {}),
  }
}

const versions = {
  v31: { protocolVersion: 3, protocolId: 'MQIsdp' },
  v311: { protocolVersion: 4, protocolId: 'MQTT' },
  v5: { protocolVersion: 5, protocolId: 'MQTT' },
}

function within (promise, what) {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${patience / 1000} s`)), patience)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const numbers = (count) => Array.from({ length: count }, (_, number) => String(number))
const payloads = (messages) => messages.map((message) => message.payload.toString())
const sorted = (texts) => [...texts].sort((a, b) => a - b)
const digest = (payload) => createHash('sha256').update(payload).digest('hex')

/** Where a check runs: version, names nobody else uses, and what is to be closed at its end. */
class At {
  constructor (version) {
    this.version = version
    this.run = randomBytes(4).toString('hex')
    this.opened = []
  }

  topic (...levels) { return ['clients', this.run, ...levels].join('/') }

  /** At most 23 bytes: all that MQTT 3.1 allows. */
  clientId () { return `c-${randomBytes(4).toString('hex')}` }

  /** A connected client. In v5 one that is not `clean` keeps its session for five minutes. */
  async connect (options = {}) {
    const properties = { ...options.properties }
    if (options.clean === false && properties.sessionExpiryInterval === undefined) {
      properties.sessionExpiryInterval = 300
    }
    const client = new Client(this, mqtt.connect({
      ...place(),
      clientId: this.clientId(),
      reconnectPeriod: 0,
      resubscribe: false,
      ...versions[this.version],
      ...options,
      properties: this.version === 'v5' ? properties : undefined,
    }))
    this.opened.push(client)
    client.connack = await within(client.connected, 'CONNACK')
    return client
  }

  close () { for (const client of this.opened) client.mqtt.end(true) }
}

class Client {
  constructor (at, client) {
    this.at = at
    this.mqtt = client
    this.messages = []
    this.wake = () => {}
    this.errors = []
    client.on('error', (error) => { this.errors.push(error) })
    client.on('message', (topic, payload, packet) => {
      this.messages.push({ topic, payload, qos: packet.qos, retain: packet.retain, packet })
      this.wake()
    })
    client.on('disconnect', (packet) => { this.disconnectReason = packet.reasonCode })
    this.closed = new Promise((resolve) => client.once('close', resolve))
    this.connected = once(client, 'connect').then(([connack]) => connack)
  }

  get id () { return this.mqtt.options.clientId }

  /** Returns the reason codes of the SUBACK. */
  async subscribe (filter, options = { qos: 1 }) {
    await within(new Promise((resolve, reject) => {
      this.mqtt.subscribe(filter, options, (error, granted, packet) => {
        this.suback = packet
        error ? reject(error) : resolve()
      })
    }), 'SUBACK')
    return this.suback.granted
  }

  unsubscribe (filter) {
    return within(new Promise((resolve, reject) => {
      this.mqtt.unsubscribe(filter, (error, packet) => error ? reject(error) : resolve(packet))
    }), 'UNSUBACK')
  }

  /** Returns the reason code of PUBACK or PUBCOMP once the exchange is over. */
  publish (topic, payload = '', options = {}) {
    return within(new Promise((resolve, reject) => {
      this.mqtt.publish(topic, payload, { qos: 1, ...options }, (error, packet) => {
        error ? reject(error) : resolve(packet?.reasonCode ?? 0)
      })
    }), 'acknowledgement')
  }

  /** How many messages to have on their way at once: MQTT.js leaves the broker's limit to us. */
  get batch () { return Math.min(this.connack.properties?.receiveMaximum ?? 65_535, 500) }

  async publishAll (topic, all, options) {
    for (let start = 0; start < all.length; start += this.batch) {
      const part = all.slice(start, start + this.batch)
      await Promise.all(part.map((payload) => this.publish(topic, payload, options)))
    }
  }

  async next () {
    while (this.messages.length === 0) {
      await within(new Promise((resolve) => { this.wake = resolve }), 'message')
    }
    return this.messages.shift()
  }

  async receive (count = 1) {
    const got = []
    while (got.length < count) got.push(await this.next())
    return got
  }

  /** What was on its way: all that arrives before a message this client sends to itself. */
  async receivedSoFar () {
    const marker = this.at.topic('marker', randomBytes(4).toString('hex'))
    await this.subscribe(marker, { qos: 2 })
    await this.publish(marker, '', { qos: 2 })
    const before = []
    for (;;) {
      const message = await this.next()
      if (message.topic === marker) return before
      before.push(message)
    }
  }

  disconnect (options) { return within(this.mqtt.endAsync(false, options), 'end') }

  /** Closes the transport without DISCONNECT. */
  vanish () {
    this.mqtt.stream.destroy()
    return within(this.closed, 'end')
  }
}

const everyVersion = ['v31', 'v311', 'v5']
const checks = []
const check = (run) => checks.push({ run, versions: everyVersion })
const check5 = (run) => checks.push({ run, versions: ['v5'] })
/** The standard leaves room, and this is what Whimbrel does. */
const ourChoice = (run, which = everyVersion) => checks.push({ run, versions: which, ourChoice: true })

// --- every version -------------------------------------------------------------------------------

check(async function publish_and_subscribe_at_QoS_0_1_and_2 (at) {
  const [sender, receiver] = [await at.connect(), await at.connect()]
  for (const qos of [0, 1, 2]) {
    const topic = at.topic('qos', String(qos))
    assert.deepEqual(await receiver.subscribe(topic, { qos }), [qos])
    for (const payload of [`at ${qos}`, '', 'späte Grüße \u{1f426}']) {
      await sender.publish(topic, payload, { qos })
      const got = await receiver.next()
      assert.deepEqual([got.topic, got.payload.toString(), got.qos], [topic, payload, qos])
      assert.equal(got.retain, false)
    }
  }
  assert.deepEqual(payloads(await receiver.receivedSoFar()), [])
})

check(async function retained_message_is_set_received_and_cleared (at) {
  const [sender, early, late, last] = await Promise.all(numbers(4).map(() => at.connect()))
  const topic = at.topic('retained')
  await early.subscribe(topic)
  await sender.publish(topic, 'first', { retain: true })
  await sender.publish(topic, 'second', { retain: true })
  assert.deepEqual((await early.receive(2)).map((m) => m.retain), [false, false])
  await late.subscribe(topic)
  const kept = await late.next()
  assert.deepEqual([kept.payload.toString(), kept.retain], ['second', true])
  await sender.publish(topic, '', { retain: true })
  assert.deepEqual(payloads(await early.receive()), [''])
  await last.subscribe(topic)
  assert.deepEqual(payloads(await last.receivedSoFar()), [])
})

check(async function will_is_sent_when_the_connection_is_lost (at) {
  const watcher = await at.connect()
  await watcher.subscribe(at.topic('will', '#'), { qos: 2 })
  for (const qos of [0, 1, 2]) {
    const topic = at.topic('will', String(qos))
    const lost = await at.connect({ will: { topic, payload: Buffer.from('lost'), qos } })
    await lost.vanish()
    const got = await watcher.next()
    assert.deepEqual([got.topic, got.payload.toString(), got.qos], [topic, 'lost', qos])
  }
})

check(async function will_is_not_sent_after_DISCONNECT (at) {
  const [watcher, topic] = [await at.connect(), at.topic('will')]
  await watcher.subscribe(topic)
  const leaving = await at.connect({ will: { topic, payload: Buffer.from('lost'), qos: 1 } })
  await leaving.disconnect()
  await at.connect({ clientId: leaving.id }) // the broker is now done with the connection before
  assert.deepEqual(payloads(await watcher.receivedSoFar()), [])
})

check(async function wildcards_match_whole_levels (at) {
  const cases = {
    'a/+': ['a/', 'a/b'],
    'a/#': ['a', 'a/', 'a/b', 'a/b/c'],
    '+/b': ['/b', 'a/b'],
    '+/+/c': ['a/b/c'],
    '#': ['/b', 'A/B', 'a', 'a/', 'a/b', 'a/b/c', 'ab/c'],
  }
  const sender = await at.connect()
  for (const [filter, matching] of Object.entries(cases)) {
    const receiver = await at.connect()
    await receiver.subscribe(at.topic(filter))
    for (const topic of cases['#']) await sender.publish(at.topic(topic), topic)
    assert.deepEqual(payloads(await receiver.receivedSoFar()), matching, filter)
  }
})

check(async function leading_wildcards_do_not_match_dollar_topics (at) {
  const level = at.clientId()
  const [sender, plain, hidden] = await Promise.all(numbers(3).map(() => at.connect()))
  await plain.subscribe(`$check/${level}`)
  await hidden.subscribe(['#', '+/#', `+/${level}`])
  await sender.publish(`$check/${level}`, 'dollar')
  assert.deepEqual(payloads(await plain.receive()), ['dollar'])
  const got = (await hidden.receivedSoFar()).filter((message) => message.topic.startsWith('$'))
  assert.deepEqual(got, [])
})

check(async function a_payload_of_1_MiB_arrives_whole_at_every_QoS (at) {
  const [sender, receiver] = [await at.connect(), await at.connect()]
  for (const qos of [0, 1, 2]) {
    const topic = at.topic('large', String(qos))
    await receiver.subscribe(topic, { qos })
    const payload = randomBytes(1024 * 1024)
    await sender.publish(topic, payload, { qos })
    const got = await receiver.next()
    assert.deepEqual([got.payload.length, digest(got.payload)], [payload.length, digest(payload)])
  }
})

/** What CONNACK must say of the session; MQTT 3.1 has no such flag. */
function assertSessionPresent (at, client, expected) {
  if (at.version !== 'v31') assert.equal(client.connack.sessionPresent, expected, 'session present')
}

check(async function a_session_resumes_with_all_messages_in_order_once (at) {
  const topic = (qos) => at.topic('away', String(qos))
  const first = await at.connect({ clean: false })
  assertSessionPresent(at, first, false)
  for (const qos of [1, 2]) await first.subscribe(topic(qos), { qos })
  await first.disconnect()
  const sender = await at.connect()
  for (const number of numbers(100)) {
    for (const qos of [1, 2]) await sender.publish(topic(qos), number, { qos })
  }
  const second = await at.connect({ clientId: first.id, clean: false })
  assertSessionPresent(at, second, true)
  const got = await second.receive(200)
  got.push(...await second.receivedSoFar())
  for (const qos of [1, 2]) {
    const ofQos = got.filter((message) => message.topic === topic(qos))
    assert.deepEqual(payloads(ofQos), numbers(100), `at QoS ${qos}`)
    assert.ok(ofQos.every((message) => message.qos === qos))
  }
})

check(async function a_clean_start_forgets_the_session (at) {
  const [first, sender] = [await at.connect({ clean: false }), await at.connect()]
  await first.subscribe(at.topic('forgotten'))
  await first.disconnect()
  await sender.publish(at.topic('forgotten'), 'queued')
  const second = await at.connect({ clientId: first.id })
  assertSessionPresent(at, second, false)
  await sender.publish(at.topic('forgotten'), 'live')
  assert.deepEqual(payloads(await second.receivedSoFar()), [])
})

check(async function takeover_closes_the_first_connection (at) {
  const first = await at.connect({ clean: false })
  await first.subscribe(at.topic('taken'))
  const second = await at.connect({ clientId: first.id, clean: false })
  await within(first.closed, 'end of the first connection')
  if (at.version === 'v5') assert.equal(first.disconnectReason, 0x8e, 'reason code')
  assertSessionPresent(at, second, true)
  await (await at.connect()).publish(at.topic('taken'), 'on')
  assert.deepEqual(payloads(await second.receive()), ['on'])
})

check(async function ten_thousand_messages_at_QoS_1_arrive_in_order (at) {
  const [sender, receiver] = [await at.connect(), await at.connect()]
  const [topic, count, batch] = [at.topic('many'), 10_000, sender.batch]
  await receiver.subscribe(topic)
  const all = numbers(count)
  for (let start = 0; start < count; start += batch) {
    const part = all.slice(start, start + batch)
    const [got] = await Promise.all([receiver.receive(part.length), sender.publishAll(topic, part)])
    assert.deepEqual(payloads(got), part)
  }
  assert.deepEqual(payloads(await receiver.receivedSoFar()), [])
})

check(async function two_hundred_clients_each_hear_their_echo (at) {
  const clients = await Promise.all(numbers(200).map(() => at.connect()))
  await Promise.all(clients.map(async (client, index) => {
    const topic = at.topic('echo', String(index))
    await client.subscribe(topic, { qos: 2 })
    for (const qos of [0, 1, 2]) await client.publish(topic, `${index} at ${qos}`, { qos })
    const got = (await client.receive(3)).map((message) => message.payload.toString())
    assert.deepEqual(got.sort(), [0, 1, 2].map((qos) => `${index} at ${qos}`))
  }))
  assert.ok(clients.every((client) => client.messages.length === 0), 'messages of others')
})

check(async function unsubscribe_stops_delivery (at) {
  const [sender, receiver] = [await at.connect(), await at.connect()]
  await receiver.subscribe([at.topic('one'), at.topic('two')])
  await sender.publish(at.topic('one'), 'before')
  assert.deepEqual(payloads(await receiver.receive()), ['before'])
  await receiver.unsubscribe(at.topic('one'))
  await sender.publish(at.topic('one'), 'after')
  await sender.publish(at.topic('two'), 'other')
  assert.deepEqual(payloads(await receiver.receivedSoFar()), ['other'])
})

ourChoice(async function overlapping_subscriptions_deliver_once_at_the_highest_QoS (at) {
  const [sender, receiver] = [await at.connect(), await at.connect()]
  for (const [qos, filter] of [[0, '#'], [2, 'x'], [1, '+']]) {
    await receiver.subscribe(at.topic('overlap', filter), { qos })
  }
  await sender.publish(at.topic('overlap', 'x'), 'once', { qos: 2 })
  assert.deepEqual((await receiver.receivedSoFar()).map((message) => message.qos), [2])
})

// --- MQTT 5.0 ------------------------------------------------------------------------------------

check5(async function properties_of_a_message_arrive (at) {
  const [sender, receiver] = [await at.connect(), await at.connect()]
  const topic = at.topic('properties')
  const properties = {
    payloadFormatIndicator: true,
    responseTopic: at.topic('answer'),
    correlationData: Buffer.from([0, 255, 1]),
    userProperties: { a: ['1', '3'], b: '2' },
    contentType: 'text/plain',
  }
  await receiver.subscribe(topic, { qos: 2 })
  for (const qos of [0, 1, 2]) {
    await sender.publish(topic, 'grüß', { qos, properties })
    const got = (await receiver.next()).packet.properties
    assert.deepEqual({ ...got, userProperties: { ...got.userProperties } }, properties)
  }
})

check5(async function time_counts_down_and_runs_out (at) {
  const [sender, watcher, queued, brief, kept, gone] = await Promise.all([
    at.connect(),
    at.connect(),
    at.connect({ clean: false }),
    at.connect({ clean: false, properties: { sessionExpiryInterval: 1 } }),
    ...['kept', 'gone'].map((name) => at.connect({
      clean: false,
      will: {
        topic: at.topic('delayed', name),
        payload: Buffer.from(name),
        qos: 1,
        properties: { willDelayInterval: 1 },
      },
    })),
  ])
  const topic = at.topic('expiry')
  await queued.subscribe(topic)
  await watcher.subscribe(at.topic('delayed', '#'))
  await Promise.all([queued.disconnect(), brief.disconnect(), kept.vanish(), gone.vanish()])
  await at.connect({ clientId: kept.id, clean: false })
  await sender.publish(topic, 'brief', { properties: { messageExpiryInterval: 1 } })
  await sender.publish(topic, 'lasting', { properties: { messageExpiryInterval: 60 } })
  assert.deepEqual(payloads(await watcher.receive()), ['gone'])
  await sleep(2100) // time itself is under test, and the wire counts it in whole seconds
  assert.deepEqual(payloads(await watcher.receivedSoFar()), [], 'the will of a client that is back')
  const got = await (await at.connect({ clientId: queued.id, clean: false })).receivedSoFar()
  assert.deepEqual(payloads(got), ['lasting'])
  const left = got[0].packet.properties.messageExpiryInterval
  assert.ok(left >= 50 && left < 60, `remaining message expiry of 60 s is ${left} s`)
  assertSessionPresent(at, await at.connect({ clientId: brief.id, clean: false }), false)
})

check5(async function DISCONNECT_can_shorten_the_session_expiry_and_keep_the_will (at) {
  const watcher = await at.connect()
  await watcher.subscribe(at.topic('will'))
  const will = { topic: at.topic('will'), payload: Buffer.from('kept'), qos: 1 }
  const first = await at.connect({ clean: false, will })
  await first.disconnect({ reasonCode: 0x04, properties: { sessionExpiryInterval: 0 } })
  assert.deepEqual(payloads(await watcher.receive()), ['kept'])
  assertSessionPresent(at, await at.connect({ clientId: first.id, clean: false }), false)
})

check5(async function subscription_identifiers_arrive (at) {
  const [sender, receiver] = [await at.connect(), await at.connect()]
  for (const subscriptionIdentifier of [268435455, 2]) {
    await receiver.subscribe(at.topic('one'), { qos: 1, properties: { subscriptionIdentifier } })
    await sender.publish(at.topic('one'))
    const got = (await receiver.next()).packet.properties.subscriptionIdentifier
    assert.deepEqual([got].flat(), [subscriptionIdentifier])
  }
})

ourChoice(async function overlapping_subscriptions_deliver_once_with_all_identifiers (at) {
  const [sender, receiver] = [await at.connect(), await at.connect()]
  for (const [index, filter] of ['#', '+', 'x'].entries()) {
    const properties = { subscriptionIdentifier: index + 1 }
    await receiver.subscribe(at.topic('overlap', filter), { qos: 1, properties })
  }
  await sender.publish(at.topic('overlap', 'x'))
  const got = await receiver.receivedSoFar()
  const identifiers = got.map((m) => sorted([m.packet.properties.subscriptionIdentifier].flat()))
  assert.deepEqual(identifiers, [[1, 2, 3]])
}, ['v5'])

check5(async function reason_codes_are_told (at) {
  const client = await at.connect()
  for (const qos of [0, 1, 2]) {
    assert.deepEqual(await client.subscribe(at.topic('known'), { qos }), [qos])
    const allowed = qos ? [0, 0x10] : [0] // 0x10, no matching subscribers, may be told
    assert.ok(allowed.includes(await client.publish(at.topic('nobody'), '', { qos })))
    assert.equal(await client.publish(at.topic('known'), '', { qos }), 0)
  }
  const unsuback = await client.unsubscribe([at.topic('known'), at.topic('unknown')])
  assert.deepEqual([...unsuback.granted], [0, 0x11])
})

check5(async function a_client_identifier_is_assigned (at) {
  const clients = [await at.connect({ clientId: '' }), await at.connect({ clientId: '' })]
  const names = clients.map((client) => client.connack.properties?.assignedClientIdentifier)
  assert.ok(names[0] && names[1] && names[0] !== names[1], `assigned ${names}`)
  await at.connect({ clientId: names[0] })
  await within(clients[0].closed, 'end of the client whose assigned name was used')
})

check5(async function limits_in_CONNACK_are_sound (at) {
  const properties = (await at.connect({ keepalive: 30 })).connack.properties ?? {}
  for (const name of ['serverKeepAlive', 'receiveMaximum', 'maximumPacketSize']) {
    assert.ok((properties[name] ?? 1) >= 1, `${name} is ${properties[name]}`)
  }
})

check5(async function topic_alias_of_the_publisher_is_resolved (at) {
  const [sender, receiver] = [await at.connect({ autoAssignTopicAlias: true }), await at.connect()]
  assert.ok(sender.connack.properties?.topicAliasMaximum > 0, 'no topic alias is allowed')
  await receiver.subscribe(at.topic('alias', '#'))
  const wanted = numbers(100).map((number) => at.topic('alias', String(Number(number) % 30)))
  for (const topic of wanted) await sender.publish(topic)
  assert.deepEqual((await receiver.receive(100)).map((message) => message.topic), wanted)
})

check5(async function topic_aliases_of_the_broker_can_be_resolved (at) {
  const sender = await at.connect()
  const receiver = await at.connect({ properties: { topicAliasMaximum: 5 } })
  await receiver.subscribe(at.topic('alias', '#'))
  const wanted = numbers(100).map((number) => at.topic('alias', String(Number(number) % 7)))
  for (const topic of wanted) await sender.publish(topic)
  assert.deepEqual((await receiver.receive(100)).map((message) => message.topic), wanted)
  assert.deepEqual(receiver.errors, [])
})

check5(async function no_local_keeps_own_messages_away (at) {
  const [client, other] = [await at.connect(), await at.connect()]
  await client.subscribe(at.topic('local'), { qos: 1, nl: true })
  await client.publish(at.topic('local'), 'mine')
  await other.publish(at.topic('local'), 'yours')
  assert.deepEqual(payloads(await client.receivedSoFar()), ['yours'])
})

check5(async function retain_as_published_keeps_the_flag (at) {
  const [sender, topic] = [await at.connect(), at.topic('flag')]
  for (const rap of [false, true]) {
    const receiver = await at.connect()
    await receiver.subscribe(topic, { qos: 1, rap })
    await sender.publish(topic, 'set', { retain: true })
    await sender.publish(topic, 'plain')
    assert.deepEqual((await receiver.receive(2)).map((message) => message.retain), [rap, false])
    await sender.publish(topic, '', { retain: true })
  }
})

check5(async function retain_handling_decides_what_a_subscription_starts_with (at) {
  const [sender, topic] = [await at.connect(), at.topic('handling')]
  await sender.publish(topic, 'kept', { retain: true })
  for (const [rh, counts] of [[0, [1, 1]], [1, [1, 0]], [2, [0, 0]]]) {
    const receiver = await at.connect()
    for (const count of counts) {
      await receiver.subscribe(topic, { qos: 1, rh })
      assert.equal((await receiver.receivedSoFar()).length, count, `retain handling ${rh}`)
    }
  }
  await sender.publish(topic, '', { retain: true })
})

check5(async function a_shared_subscription_delivers_each_message_once (at) {
  const [sender, plain, ...members] = await Promise.all(numbers(4).map(() => at.connect()))
  const topic = at.topic('shared')
  await plain.subscribe(topic)
  for (const member of members) await member.subscribe(`$share/${at.run}/${topic}`)
  for (const number of numbers(100)) await sender.publish(topic, number)
  const parts = await Promise.all(members.map((member) => member.receivedSoFar()))
  assert.deepEqual(sorted(payloads(parts.flat())), numbers(100))
  assert.deepEqual(payloads(await plain.receive(100)), numbers(100))
})

check5(async function a_shared_subscription_gets_no_retained_message (at) {
  const [client, topic] = [await at.connect(), at.topic('kept')]
  await client.publish(topic, 'kept', { retain: true })
  await client.subscribe(`$share/${at.run}/${topic}`)
  assert.deepEqual(payloads(await client.receivedSoFar()), [])
  await client.publish(topic, '', { retain: true })
})

check5(async function receive_maximum_1_and_maximum_packet_size_are_kept (at) {
  const sender = await at.connect()
  const properties = { receiveMaximum: 1, maximumPacketSize: 500 }
  const receiver = await at.connect({ properties })
  for (const qos of [1, 2]) {
    await receiver.subscribe(at.topic('limits'), { qos })
    const sent = [...numbers(50), 'x'.repeat(1000), ...numbers(50)]
    await sender.publishAll(at.topic('limits'), sent, { qos })
    const got = payloads(await receiver.receivedSoFar())
    assert.deepEqual(got, [...numbers(50), ...numbers(50)])
  }
})

// --- the run -------------------------------------------------------------------------------------

async function play (name, run, at) {
  const started = Date.now()
  let complaint
  try {
    await run(at)
  } catch (error) { // whatever a check trips over is its failure; the next ones still run
    complaint = String(error?.message ?? error).replace(/\s+/g, ' ').slice(0, 400)
  }
  at.close()
  const took = times ? ` (${((Date.now() - started) / 1000).toFixed(2)} s)` : ''
  console.log(complaint === undefined ? `ok  ${name}${took}` : `FAILED  ${name}: ${complaint}`)
  return complaint === undefined
}

async function main () {
  let passed = true
  for (const version of everyVersion) {
    for (const { run, versions, ourChoice } of checks) {
      if (!versions.includes(version) || (wanted.length && !wanted.includes(run.name))) continue
      const name = `mqttjs ${version}: ${run.name.replaceAll('_', ' ')}`
      if (ourChoice && anyBroker) console.log(`not run  ${name}: a choice of Whimbrel`)
      else passed = await play(name, run, new At(version)) && passed
    }
  }
  process.exit(passed ? 0 : 3) // not 1, which is how Node itself ends in distress
}

main()
