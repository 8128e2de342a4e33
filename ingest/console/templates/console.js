'use strict';
// Two comforts; every page works without them.
for (const place of document.querySelectorAll('[data-needs-script]')) place.hidden = false;
for (const input of document.querySelectorAll('[data-fingerprint]')) {
  input.addEventListener('change', async () => {
    const target = document.getElementById(input.dataset.fingerprint);
    const file = input.files[0];
    if (!file) return;
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()));
    target.value = [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  });
}
for (const form of document.querySelectorAll('[data-wait]')) {
  form.addEventListener('submit', (event) => {
    if (!event.submitter || !event.submitter.name) document.getElementById(form.dataset.wait).hidden = false;
  });
}
