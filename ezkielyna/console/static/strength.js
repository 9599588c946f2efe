// Says roughly how hard a new password is to guess. It never stands in the way: the server decides,
// with lists that are too long for a page.

const COMMON = /pass(word|wort)?|qwert[yz]|letmein|welcome|admin|login|love|dragon|monkey|master|secret|summer|winter|test/gi;
const SAYS = ["Too short", "Easy to guess", "Could be longer", "Good", "Strong"];
const LEAST = [28, 42, 60]; // bits, for all but the first two of these

// Small letters make words, so one of them is worth less than it looks.
function worth(letter) {
  if (/[a-z]/.test(letter)) return 2.5;
  return /[A-Z]/.test(letter) ? 3.5 : /[0-9]/.test(letter) ? 3.3 : 5;
}

function bits(password, known) {
  let text = password;
  for (const word of known) text = text.replaceAll(word, "a");
  text = text.replace(COMMON, "a");
  let sum = 0;
  for (let at = 0; at < text.length; at += 1) {
    const step = at ? text.charCodeAt(at) - text.charCodeAt(at - 1) : 9;
    sum += Math.abs(step) <= 1 ? 0.5 : worth(text[at]); // aaaa, 1234, dcba
  }
  return sum;
}

function level(password, known, shortest) {
  if ([...password].length < shortest) return 0;
  const found = bits(password, known);
  return 1 + LEAST.filter((least) => found >= least).length;
}

const email = document.querySelector("input[type=email]");
for (const place of document.querySelectorAll("[data-strength]")) {
  const field = document.getElementById(place.dataset.strength);
  const [meter, says] = [place.querySelector("meter"), place.querySelector("span")];
  const show = () => {
    const known = (email?.value ?? "").split(/\W+/).filter((part) => part.length > 2);
    const value = level(field.value, known, field.minLength);
    place.hidden = !field.value;
    meter.value = value;
    if (says.textContent !== SAYS[value]) says.textContent = SAYS[value];
  };
  field.addEventListener("input", show);
  email?.addEventListener("input", show);
  show();
}
