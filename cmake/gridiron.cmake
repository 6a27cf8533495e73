# gridiron_module(NAME LINK libs…): src/NAME/**.cc as a static library, src/NAME/**_test.cc as the program NAME_test.
# A module without sources yet is an interface library, so that others can already link it.
function(gridiron_module name)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(sources)
    add_library(${name} STATIC ${sources})
    set(scope PUBLIC)
    gridiron_warnings(${name})
  else()
    add_library(${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${name} ${scope} ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${name} ${scope} ${arg_LINK})
  if(tests)
    add_executable(${name}_test ${tests})
    gridiron_warnings(${name}_test)
    target_link_libraries(${name}_test PRIVATE ${name} GTest::gmock GTest::gtest_main)
    if(name STREQUAL "edge" OR name STREQUAL "wire" OR name STREQUAL "worker")
      target_precompile_headers(${name}_test REUSE_FROM gridiron_pch)
    endif()
    add_test(NAME ${name}_test COMMAND ${name}_test)
    set_tests_properties(${name}_test PROPERTIES TIMEOUT 300 LABELS unit)
  endif()
  if(sources AND (name STREQUAL "edge" OR name STREQUAL "wire" OR name STREQUAL "worker"))
    target_precompile_headers(${name} REUSE_FROM gridiron_pch)
  endif()
endfunction()

function(gridiron_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Werror)
  # GCC 12 reports false positives inside Asio's and the standard library's inlined code.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized -Wno-restrict
                         -Wno-stringop-overflow -Wno-stringop-overread
                         -Wno-array-bounds -Wno-dangling-pointer>)
  if(GRIDIRON_SANITIZE AND target MATCHES "^(wire|edge|worker|main)")
    # At -O1 GCC 12 does not see that a coroutine's frame comes from Asio's own operator new.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-mismatched-new-delete>)
  endif()
  target_compile_definitions(${target} PRIVATE BOOST_ASIO_NO_DEPRECATED BOOST_ERROR_CODE_HEADER_ONLY)
endfunction()

# gridiron_binary(NAME FOLDER LINK libs…): src/FOLDER/main.cc as the program NAME; the folder's other sources as the
# library FOLDER_parts, and its *_test.cc as the program FOLDER_test.
function(gridiron_binary name folder)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${folder}/*.cc)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER sources EXCLUDE REGEX "(_test|/main)\\.cc$")
  add_library(${folder}_parts STATIC ${sources})
  target_include_directories(${folder}_parts PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${folder}_parts PUBLIC ${arg_LINK})
  target_compile_definitions(${folder}_parts PRIVATE GRIDIRON_VERSION="${PROJECT_VERSION}")
  target_precompile_headers(${folder}_parts REUSE_FROM gridiron_pch)
  gridiron_warnings(${folder}_parts)
  if(tests)
    add_executable(${folder}_test ${tests})
    gridiron_warnings(${folder}_test)
    target_link_libraries(${folder}_test PRIVATE ${folder}_parts GTest::gmock GTest::gtest_main)
    add_test(NAME ${folder}_test COMMAND ${folder}_test)
    set_tests_properties(${folder}_test PROPERTIES TIMEOUT 300 LABELS unit)
  endif()
  if(EXISTS ${CMAKE_SOURCE_DIR}/src/${folder}/main.cc)
    add_executable(${name} ${CMAKE_SOURCE_DIR}/src/${folder}/main.cc)
    gridiron_warnings(${name})
    target_link_libraries(${name} PRIVATE ${folder}_parts)
    target_compile_definitions(${name} PRIVATE GRIDIRON_VERSION="${PROJECT_VERSION}")
  endif()
endfunction()

# The client API's messages come out of the pinned `modal` wheel (tools/client_api does it), our link's from proto/.
set(GRIDIRON_PROTO_FROM "" CACHE PATH "a build folder whose gridiron_proto is taken instead of compiling it again")
function(gridiron_proto)
  if(GRIDIRON_PROTO_FROM)
    add_library(gridiron_proto STATIC IMPORTED GLOBAL)
    set_target_properties(gridiron_proto PROPERTIES IMPORTED_LOCATION ${GRIDIRON_PROTO_FROM}/libgridiron_proto.a)
    target_include_directories(gridiron_proto SYSTEM INTERFACE ${GRIDIRON_PROTO_FROM}/proto)
    target_link_libraries(gridiron_proto INTERFACE protobuf::libprotobuf)
  else()
    gridiron_generated_code(${CMAKE_BINARY_DIR}/proto)
  endif()
  # api.pb.h costs 7 s a file: those who need it share this header.
  file(WRITE ${CMAKE_BINARY_DIR}/pch.cc "")
  add_library(gridiron_pch STATIC ${CMAKE_BINARY_DIR}/pch.cc)
  target_include_directories(gridiron_pch PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(gridiron_pch PUBLIC gridiron_proto base)
  gridiron_warnings(gridiron_pch)
  # No path of this checkout is in it: ccache has it, and with it all that is compiled with it, for the next one too.
  target_precompile_headers(gridiron_pch PRIVATE <modal_proto/api.pb.h> <link.pb.h> <string> <vector> <memory>
                            <functional> <base/loop.h> <base/result.h>)
  if(NOT GRIDIRON_PROTO_FROM)
    add_dependencies(gridiron_pch gridiron_proto)
  endif()
endfunction()

# The library gridiron_proto, of what is written into the folder `out`.
function(gridiron_generated_code out)
  file(MAKE_DIRECTORY ${out})
  set(client_sources ${out}/modal_proto/api.pb.cc ${out}/modal_proto/task_command_router.pb.cc)
  add_custom_command(
    OUTPUT ${client_sources} ${out}/modal_proto/api.pb.h ${out}/modal_proto/task_command_router.pb.h ${out}/api.fds
    COMMAND ${CMAKE_SOURCE_DIR}/tools/client_api ${out} $<TARGET_FILE:protobuf::protoc>
    DEPENDS ${CMAKE_SOURCE_DIR}/tools/client_api ${CMAKE_SOURCE_DIR}/tools/client_api.lock
    COMMENT "client API from the pinned wheel")
  add_custom_command(
    OUTPUT ${out}/link.pb.cc ${out}/link.pb.h
    COMMAND protobuf::protoc -I${CMAKE_SOURCE_DIR}/proto --cpp_out=${out} ${CMAKE_SOURCE_DIR}/proto/link.proto
    DEPENDS ${CMAKE_SOURCE_DIR}/proto/link.proto)
  add_library(gridiron_proto STATIC ${client_sources} ${out}/link.pb.cc)
  # Generated code: neither warned about nor instrumented (it takes minutes as it is).
  target_compile_options(gridiron_proto PRIVATE -O1 -g0 -w)
  if(GRIDIRON_SANITIZE)
    target_compile_options(gridiron_proto PRIVATE -fno-sanitize=all)
  endif()
  target_include_directories(gridiron_proto SYSTEM PUBLIC ${out})
  target_link_libraries(gridiron_proto PUBLIC protobuf::libprotobuf)
endfunction()

# The page's files (web/) as the library web_files.
function(gridiron_web_files)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/web/*.html ${CMAKE_SOURCE_DIR}/web/*.css ${CMAKE_SOURCE_DIR}/web/*.js)
  add_custom_command(
    OUTPUT ${CMAKE_BINARY_DIR}/web_files.cc
    COMMAND ${CMAKE_SOURCE_DIR}/tools/embed ${CMAKE_BINARY_DIR}/web_files.cc ${files}
    DEPENDS ${CMAKE_SOURCE_DIR}/tools/embed ${files})
  add_library(web_files STATIC ${CMAKE_BINARY_DIR}/web_files.cc)
  target_include_directories(web_files PRIVATE ${CMAKE_SOURCE_DIR}/src)
endfunction()
