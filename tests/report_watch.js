// Before the page's own script: everything that goes wrong is noted.
window.errors = [];
window.onerror = (message) => {
  window.errors.push(String(message));
};
document.addEventListener("securitypolicyviolation", (e) => window.errors.push(e.blockedURI));
console.error = (...words) => window.errors.push(words.join(" "));
