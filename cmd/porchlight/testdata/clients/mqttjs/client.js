// An MQTT client in MQTT.js that does what it is told and says what it sees. It reads one step a
// line from standard input and answers each with one line:
//
//	connect id= [user=] [password=] [will=] [keep=1]  CONNACK 0x.. [, session present]
//	subscribe filter=                                 SUBACK 0x..
//	publish topic= qos= [retain=1] [alias=] payload=  PUBACK 0x.., or nothing for QoS 0
//	await text=                                       what came before a message with this text:
//	                                                  topic=payload ... [DISCONNECT=.. | closed]
//	leave                                             left
//
// Payloads are hexadecimal. A step that finds the connection gone, or loses it, answers "ended"; one
// that the library does not do, "held back:" and its words; one that nothing answers, "silence".
// URL (mqtts:// or wss://), CA (a file) and VERSION (4 or 5) are in the environment.
'use strict';

const fs = require('node:fs');
const readline = require('node:readline');
const mqtt = require('mqtt');

const { URL: url, CA, VERSION } = process.env;
const ca = fs.readFileSync(CA);
const version = Number(VERSION);
const hex = (code) => '0x' + code.toString(16).padStart(2, '0');

let client;
let events; // what has come and was not asked for yet, in order
let wake; // called when something has come

function note(event) {
  events.push(event);
  if (wake) wake();
}

// until waits for the first event that answers, and takes it out.
async function until(answers) {
  const end = Date.now() + 30_000;
  while (Date.now() < end) {
    const i = events.findIndex(answers);
    if (i >= 0) return events[i].end ? events[i] : events.splice(i, 1)[0];
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, end - Date.now()).unref();
    });
  }
  return { silence: true };
}

// refused is a callback for what the library does not do. What the gateway refuses comes as a packet.
function refused(err) {
  if (err && err.code === undefined && client.connected) note({ held: err.message });
}

// answer waits for a packet, the end, or the library's refusal, and says it.
async function answer(packet, say) {
  const e = await until((e) => e.packet?.cmd === packet || e.end || e.held);
  if (e.end) return 'ended';
  if (e.held) return 'held back: ' + e.held;
  return e.silence ? 'silence' : say(e.packet);
}

const steps = {
  async connect({ id, user, password, will, keep }) {
    const mine = [];
    events = mine;
    client = mqtt.connect(url, {
      ca, wsOptions: { ca }, protocolVersion: version, reconnectPeriod: 0, connectTimeout: 30_000, keepalive: 60,
      clientId: id, username: user, password, clean: !keep,
      properties: version === 5 && keep ? { sessionExpiryInterval: 3600 } : undefined,
      will: will ? { topic: will, payload: 'forged', qos: 0, retain: false } : undefined,
    });
    client.on('packetreceive', (packet) => note({ packet }));
    client.on('error', () => {}); // what it is about comes as a packet or as the end
    client.on('close', () => { if (events === mine) note({ end: true }); });
    return answer('connack', (p) => `CONNACK ${hex(p.reasonCode ?? p.returnCode)}${p.sessionPresent ? ', session present' : ''}`);
  },

  async subscribe({ filter }) {
    client.subscribe(filter, { qos: 1 }, refused);
    return answer('suback', (p) => `SUBACK ${hex(p.granted[0])}`);
  },

  async publish({ topic, qos, retain, alias, payload }) {
    const properties = alias === undefined ? undefined : { topicAlias: Number(alias) };
    let sent = false;
    client.once('packetsend', () => { sent = true; });
    client.publish(topic, Buffer.from(payload, 'hex'), { qos: Number(qos), retain: !!retain, properties }, refused);
    if (!sent) { // of some it says so, and never of QoS 1
      const e = events.find((e) => e.held || e.end);
      return e?.end ? 'ended' : 'held back: ' + (e?.held ?? 'nothing was sent');
    }
    return qos === '0' ? '' : answer('puback', (p) => `PUBACK ${hex(p.reasonCode ?? 0)}`);
  },

  async await({ text }) {
    const seen = [];
    for (;;) {
      const e = await until((e) => e.packet?.cmd === 'publish' || e.packet?.cmd === 'disconnect' || e.end);
      if (e.silence) return [...seen, 'silence'].join(' ');
      if (e.end) return [...seen, 'closed'].join(' ');
      if (e.packet.cmd === 'disconnect') return [...seen, 'DISCONNECT=' + e.packet.reasonCode.toString(16)].join(' ');
      if (e.packet.payload.includes(text)) return seen.join(' ');
      seen.push(`${e.packet.topic}=${e.packet.payload.toString('hex')}`);
    }
  },

  async leave() {
    await client.endAsync(true); // it would wait for what it never sent
    return 'left';
  },
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [step, ...rest] = line.split(' ');
    const args = Object.fromEntries(rest.map((kv) => [kv.slice(0, kv.indexOf('=')), kv.slice(kv.indexOf('=') + 1)]));
    console.log(await steps[step](args));
  }
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
