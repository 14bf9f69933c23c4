#version 330 core
// Places a vertex, or a splat of a point cloud, before one camera. Everything is passed on in camera space.

layout(location = 0) in vec3 position;
layout(location = 1) in vec3 normal;
layout(location = 2) in vec2 texel;  // of a splat: x is its radius
layout(location = 3) in vec4 tint;

uniform mat4 view;
uniform mat4 projection;
uniform float pixels;  // picture height over the height of what is seen at distance 1

out vec3 seen;
out vec3 toward;
#ifdef TEXTURE
out vec2 uv;
#endif
out vec4 color;

void main() {
    vec4 place = view * vec4(position, 1.0);
    gl_Position = projection * place;
    seen = place.xyz;
    toward = mat3(view) * normal;
#ifdef TEXTURE
    uv = vec2(texel.x, 1.0 - texel.y);
#endif
    color = tint;
#ifdef SPLAT
    gl_PointSize = max(2.0, 2.0 * texel.x * pixels / -place.z);
#endif
}
