// Walks through a gateway with the official SDK; prints one line of JSON for every check:
// {"check": name, "ok": true} or {"check": name, "ok": false, "detail": what went wrong}.
//
// Its one argument is a JSON object: `api` (the base URL), `key`, `poor` (the key of an account
// without money), `upstream` (the scripted upstream, which says when the gateway left it).
//
// What the upstream of `gpt-lab` does is told by the message: see `play` in test_sdk_node.py.

import assert from "node:assert/strict";
import OpenAI from "openai";

const { api, key, poor, upstream } = JSON.parse(process.argv[2]);
const connect = (apiKey) =>
  new OpenAI({ baseURL: api, apiKey, maxRetries: 0, timeout: 15_000 });
const client = connect(key);

const say = (content) => [{ role: "user", content }];
const nice = say("Say something nice.");
const chat = (options) => client.chat.completions.create({ model: "sim-gpt", messages: nice, ...options });
const act = (scene, options) =>
  client.chat.completions.create({ model: "gpt-lab", messages: say(scene), ...options });

async function collected(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const text = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");

async function caught(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail("nothing was raised");
}

// An error of one of the SDK's classes, with all that our error body and headers say.
async function refused(promise, Class, status, type) {
  const error = await caught(promise);
  assert.equal(error.constructor, Class);
  assert.equal(error.status, status);
  assert.equal(error.type, type);
  assert.equal(error.code, status);
  assert.match(error.requestID, /^req_/);
  assert.equal(error.headers.get("x-request-id"), error.requestID);
  return error;
}

const checks = {
  async chat_plain() {
    const answer = await chat();
    assert.equal(answer.object, "chat.completion");
    assert.ok(answer.choices[0].message.content);
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.ok(answer.usage.completion_tokens > 0);
    assert.ok(answer.usage.cost > 0);
  },

  async chat_streamed() {
    const chunks = await collected(await chat({ stream: true }));
    assert.ok(text(chunks));
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
    assert.ok(chunks.every((chunk) => !("usage" in chunk)));
  },

  async chat_streamed_with_usage() {
    const chunks = await collected(
      await chat({ stream: true, stream_options: { include_usage: true } }),
    );
    const last = chunks.pop();
    assert.ok(text(chunks));
    assert.ok(chunks.every((chunk) => chunk.usage === null));
    assert.deepEqual(last.choices, []);
    assert.equal(
      last.usage.total_tokens,
      last.usage.prompt_tokens + last.usage.completion_tokens,
    );
    assert.ok(last.usage.cost > 0);
  },

  async chat_streamed_without_usage_on_purpose() {
    const chunks = await collected(
      await chat({ stream: true, stream_options: { include_usage: false } }),
    );
    assert.ok(text(chunks));
    assert.ok(chunks.every((chunk) => !("usage" in chunk)));
  },

  async chat_by_the_stream_helper() {
    const stream = client.chat.completions.stream({ model: "sim-gpt", messages: nice });
    let content = "";
    stream.on("content", (delta) => (content += delta));
    const answer = await stream.finalChatCompletion();
    assert.ok(content);
    assert.equal(answer.choices[0].message.content, content);
  },

  async completions() {
    const options = { model: "sim-gpt", prompt: "Once", max_tokens: 12 };
    const answer = await client.completions.create(options);
    assert.equal(answer.object, "text_completion");
    assert.ok(answer.choices[0].text);
    const chunks = await collected(await client.completions.create({ ...options, stream: true }));
    assert.ok(chunks.map((chunk) => chunk.choices[0].text).join(""));
  },

  async embeddings_as_numbers() {
    const answer = await client.embeddings.create({
      model: "sim-embedding", input: ["one", "two"], encoding_format: "float",
    });
    assert.deepEqual(answer.data.map((item) => item.index), [0, 1]);
    assert.ok(answer.data.every((item) => item.embedding.length > 0));
    assert.ok(answer.data[0].embedding.every(Number.isFinite));
  },

  async embeddings_as_base64() {
    const options = { model: "sim-embedding", input: ["one", "two"] };
    const numbers = await client.embeddings.create({ ...options, encoding_format: "float" });
    const text = await client.embeddings.create({ ...options, encoding_format: "base64" });
    const byDefault = await client.embeddings.create(options); // base64 on the wire, decoded here
    for (const [position, { embedding }] of numbers.data.entries()) {
      const raw = text.data[position].embedding;
      assert.equal(typeof raw, "string");
      const bytes = Buffer.from(raw, "base64");
      for (const [place, number] of embedding.entries()) {
        assert.ok(Math.abs(bytes.readFloatLE(4 * place) - number) < 1e-6);
        assert.ok(Math.abs(byDefault.data[position].embedding[place] - number) < 1e-6);
      }
      assert.equal(bytes.length, 4 * embedding.length);
      assert.equal(byDefault.data[position].embedding.length, embedding.length);
    }
  },

  async images() {
    const answer = await client.images.generate({ model: "sim-image", prompt: "A square", n: 2 });
    assert.equal(answer.data.length, 2);
    for (const { b64_json } of answer.data) {
      assert.equal(Buffer.from(b64_json, "base64").subarray(1, 4).toString(), "PNG");
    }
  },

  async models_listed() {
    const models = [];
    for await (const model of client.models.list()) models.push(model);
    const ids = models.map((model) => model.id);
    assert.ok(["sim-gpt", "vendor/sim:large", "gpt-lab"].every((id) => ids.includes(id)), `${ids}`);
    assert.ok(!ids.includes("closed-lab"));
    for (const model of models) {
      assert.equal(model.object, "model");
      assert.ok(model.owned_by);
      assert.ok(Number.isInteger(model.created));
    }
  },

  async models_retrieved() {
    assert.equal((await client.models.retrieve("sim-gpt")).id, "sim-gpt");
    assert.equal((await client.models.retrieve("vendor/sim:large")).id, "vendor/sim:large");
    await refused(client.models.retrieve("none"), OpenAI.NotFoundError, 404, "model_not_found");
  },

  async the_request_id() {
    const { data, response, request_id } = await chat().withResponse();
    assert.match(request_id, /^req_/);
    assert.equal(data._request_id, request_id);
    assert.equal(response.headers.get("x-request-id"), request_id);
    const streamed = await chat({ stream: true }).withResponse();
    assert.match(streamed.request_id, /^req_/);
    assert.notEqual(streamed.request_id, request_id);
    await collected(streamed.data);
    const raw = await chat().asResponse();
    assert.equal(raw.headers.get("x-ratelimit-limit-requests"), "1000");
    await raw.text();
  },

  async error_400() {
    const error = await refused(
      chat({ temperature: 9 }), OpenAI.BadRequestError, 400, "invalid_request",
    );
    assert.equal(error.param, "temperature");
  },

  async error_400_of_the_upstream() {
    const error = await refused(
      act("status 400"), OpenAI.BadRequestError, 400, "invalid_request",
    );
    assert.match(error.message, /The upstream says 400/);
  },

  async error_401() {
    await refused(
      connect("ez-nothing").models.list(), OpenAI.AuthenticationError, 401, "invalid_api_key",
    );
  },

  async error_402() {
    const broke = connect(poor).chat.completions.create({ model: "sim-gpt", messages: nice });
    await refused(broke, OpenAI.APIError, 402, "insufficient_balance");
  },

  async error_403() {
    await refused(
      chat({ model: "closed-lab" }), OpenAI.PermissionDeniedError, 403, "model_not_allowed",
    );
  },

  async error_404() {
    await refused(chat({ model: "none" }), OpenAI.NotFoundError, 404, "model_not_found");
    await refused(client.get("/nowhere"), OpenAI.NotFoundError, 404, "not_found");
  },

  async error_429() {
    const error = await refused(act("status 429"), OpenAI.RateLimitError, 429, "rate_limited");
    assert.equal(error.headers.get("retry-after"), "7");
    assert.equal(error.headers.get("retry-after-ms"), "7000");
  },

  async error_500() {
    await refused(act("status 500"), OpenAI.InternalServerError, 502, "upstream_error");
    await refused(
      act("status 500", { stream: true }), OpenAI.InternalServerError, 502, "upstream_error",
    );
  },

  async an_error_inside_a_stream_is_raised() {
    const stream = await act("cut", { stream: true });
    let content = "";
    const error = await caught((async () => {
      for await (const chunk of stream) content += text([chunk]);
    })());
    assert.equal(content, "Hi");
    assert.ok(error instanceof OpenAI.APIError, `${error}`);
    assert.equal(error.type, "upstream_error");
    assert.equal(error.code, 502);
    assert.ok(error.message);
  },

  async an_abort_reaches_the_upstream() {
    const stream = await act("endless", { stream: true });
    for await (const chunk of stream) {
      assert.equal(text([chunk]), "word ");
      break; // leaving the loop aborts the request
    }
    assert.ok(stream.controller.signal.aborted);
    const { gone } = await (await fetch(`${upstream}/gone`)).json();
    assert.ok(gone, "the upstream still streams after a second");
  },

  async unknown_fields_survive() {
    const answer = await act("echo", { x_request: { deep: [1, "ü"] } });
    assert.deepEqual(answer.x_answer, { deep: [1, "ü"] });
  },
};

for (const [check, run] of Object.entries(checks)) {
  let line = { check, ok: true };
  try {
    await run();
  } catch (error) {
    line = { check, ok: false, detail: error.stack };
  }
  console.log(JSON.stringify(line));
}
