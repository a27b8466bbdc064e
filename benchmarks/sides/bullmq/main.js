// BullMQ's producer and worker for the benchmarks: node main.js DIR, where DIR has the modules. It reads an order, one
// line of JSON, from standard input and writes results to standard output. benchmarks/orders.py defines both.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");
const readline = require("node:readline");

const { FlowProducer, Queue, Worker } = createRequire(path.join(process.argv[2], "package.json"))("bullmq");

// The rate that is never reached, jobs per second.
const RATE = 10_000_000;
// A concurrency that is never reached.
const WIDE = 10_000;
// Jobs in one bulk call.
const BULK = 1_000;
// Nothing is kept of a job that is done.
const OPTIONS = { removeOnComplete: true };

const name = (order, index) => `job${index % order.case.names}`;

function args(order, index) {
  if (!order.case.tenants) return { index };
  const position = index % 5;
  const other = 2 * Math.floor(index / 5) + position - 3;
  return { index, tenant: position < 3 ? 0 : 1 + (other % (order.case.tenants - 1)) };
}

function connection(order) {
  const url = new URL(order.url);
  const password = decodeURIComponent(url.password) || undefined;
  return { host: url.hostname, port: Number(url.port), password, maxRetriesPerRequest: null };
}

const names = (order) => Array.from({ length: order.case.names }, (_, index) => name(order, index));

async function fill(order) {
  const queues = Object.fromEntries(names(order).map((each) => [each, new Queue(each, { connection: connection(order) })]));
  const flows = new FlowProducer({ connection: connection(order) });
  await Promise.all([flows.waitUntilReady(), ...Object.values(queues).map((queue) => queue.waitUntilReady())]);
  const most = { concurrency: order.case.concurrency, "concurrency-wide": WIDE }[order.case.limit];
  if (most) {
    await Promise.all(Object.values(queues).map((queue) => queue.setGlobalConcurrency(most)));
  }
  const jobs = Array.from({ length: order.jobs }, (_, index) => job(order, index));
  const start = process.hrtime.bigint();
  if (order.case.flow) {
    await flows.add(tree(order, jobs));
  } else {
    for (let first = 0; first < jobs.length; first += BULK) {
      const some = jobs.slice(first, first + BULK);
      await Promise.all(names(order).map((each) => queues[each].addBulk(some.filter((one) => one.queueName === each))));
    }
  }
  return Number(process.hrtime.bigint() - start) / 1e9;
}

function job(order, index) {
  const options = order.case.limit === "unique" ? { ...OPTIONS, deduplication: { id: `unique-${index}` } } : OPTIONS;
  return { name: name(order, index), queueName: name(order, index), data: args(order, index), opts: options };
}

// The root of a flow is its last job. In a chain, each has the one before it as its only child.
function tree(order, jobs) {
  const last = jobs.pop();
  if (order.case.flow !== "chain") return { ...last, children: jobs };
  let node = jobs.shift();
  for (const each of [...jobs, last]) node = { ...each, children: [node] };
  return node;
}

async function drain(order) {
  const runs = new Uint8Array(order.jobs);
  const isChain = order.case.flow === "chain";
  let left = order.jobs;
  let early = 0;
  let started, before;
  const idle = process.memoryUsage().rss;
  await new Promise((resolve) => {
    const handle = async (job) => {
      const { index } = job.data;
      if (started === undefined) [started, before] = [process.hrtime.bigint(), process.cpuUsage()];
      if (order.jobs - left < index && order.case.flow && (isChain || index === order.jobs - 1)) early += 1;
      runs[index] += 1;
      left -= 1;
      if (left === 0) resolve();
    };
    for (const each of names(order)) {
      const options = { connection: connection(order), concurrency: order.case.concurrency };
      if (order.case.limit === "rate") options.limiter = { max: RATE, duration: 1000 };
      new Worker(each, handle, options).on("error", (error) => {
        throw error;
      });
    }
  });
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  const cpu = process.cpuUsage(before);
  const after = process.memoryUsage().rss;
  return {
    seconds,
    cpu: (cpu.user + cpu.system) / 1e6,
    idle,
    after,
    peak: process.resourceUsage().maxRSS * 1024,
    not_once: runs.filter((count) => count !== 1).length,
    early,
  };
}

readline.createInterface({ input: process.stdin }).once("line", async (line) => {
  const order = JSON.parse(line);
  const result = await (order.what === "fill" ? fill(order) : drain(order));
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
});
