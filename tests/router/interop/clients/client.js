// Calls on one channel of grpc-js, as standard input says: see ../libraries.py.
const grpc = require("@grpc/grpc-js");
const readline = require("node:readline");

const [target, config, keepalive] = process.argv.slice(2);
const options = { "grpc.service_config": config };
if (Number(keepalive)) {
  options["grpc.keepalive_time_ms"] = Number(keepalive);
  options["grpc.keepalive_permit_without_calls"] = 1;
}
const client = new grpc.Client(target, grpc.credentials.createInsecure(), options);
const raw = (octets) => octets;
const calls = new Map();

function tell(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

function begin({ id, path, metadata, deadline, stream }) {
  const sent = grpc.Metadata.fromHttp2Headers(metadata);
  const limits = deadline ? { deadline: Date.now() + deadline * 1000 } : {};
  const message = Buffer.alloc(0);
  const ended = ({ code, details }) => tell({ id, code, details });
  if (!stream) {
    return client.makeUnaryRequest(path, raw, raw, message, sent, limits, (error) =>
      ended(error ?? { code: grpc.status.OK, details: "" }),
    );
  }
  const call = client.makeBidiStreamRequest(path, raw, raw, sent, limits);
  call.on("data", () => tell({ id, came: true }));
  call.on("error", () => {}); // "status" says it too
  call.on("status", ended);
  call.write(message);
  return call;
}

readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const asked = JSON.parse(line);
    if (asked.cancel) calls.get(asked.id).cancel();
    else calls.set(asked.id, begin(asked));
  })
  .on("close", () => process.exit());
