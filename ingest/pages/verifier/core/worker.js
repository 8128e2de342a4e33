// What a worker does: take files, tell progress ten times a second, answer once; or check slices.

if (globalThis.WorkerGlobalScope)
  globalThis.onmessage = async ({ data }) => {
    if (data.port) { data.port.onmessage = ({ data: part }) => data.port.postMessage(checkSlice(part)); return; }
    let told = 0;
    const report = await run(data, (done, total) => {
      const now = performance.now();
      if (now - told > 100) { told = now; postMessage({ done: Math.min(1, done / total) }); }
    });
    postMessage({ report });
  };
